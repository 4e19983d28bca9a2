//! How much memory this process may take: what the machine has, what its control groups allow, and its own limits. All of it
//! is read from files of the kernel below a root; elsewhere than on Linux there are none, and nothing is known.

use std::path::{Component, Path};

/// Bytes that this process can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now, without swapping.
    pub free: u64,
    /// If nothing else took any.
    pub all: u64,
}

/// The names of a control group's files.
struct Names {
    /// Where groups may be mounted.
    mounts: [&'static str; 2],
    limits: &'static [&'static str],
    taken: &'static str,
    /// A field of memory.stat: cached files that nobody has used for long, which the kernel drops when it needs to.
    droppable: &'static str,
}

const V2: Names = Names {
    mounts: ["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    limits: &["memory.max", "memory.high"],
    taken: "memory.current",
    droppable: "inactive_file ",
};

const V1: Names = Names {
    mounts: ["sys/fs/cgroup/memory", "sys/fs/cgroup"],
    limits: &["memory.limit_in_bytes"],
    taken: "memory.usage_in_bytes",
    droppable: "total_inactive_file ",
};

/// Limits of the process itself: as /proc/self/limits names them, and what counts against them in /proc/self/status.
const OWN: [(&str, &str); 2] = [("Max address space", "VmSize:"), ("Max data size", "VmData:")];

/// The tightest of the machine's memory, of the limits of the control groups that the process is in (v1 and v2, and all
/// groups around them), and of its own limits. `root` is `/`, or what stands for it in a test.
pub fn memory(root: &Path) -> Option<Memory> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let info = read("proc/meminfo")?;
    let machine = Memory { free: kib(&info, "MemAvailable:")?, all: kib(&info, "MemTotal:")? };
    let mut limits = groups(root, &read("proc/self/cgroup").unwrap_or_default());
    let (own, status) = (read("proc/self/limits"), read("proc/self/status").unwrap_or_default());
    for (name, taken) in OWN {
        // Soft, then hard.
        let soft = own.as_deref().and_then(|own| field(own, name)?.split_whitespace().next()?.parse().ok());
        limits.extend(soft.map(|limit: u64| under(limit, kib(&status, taken).unwrap_or(0))));
    }
    let tighter =
        |one: Memory, other: Memory| Memory { free: one.free.min(other.free), all: one.all.min(other.all) };
    Some(limits.into_iter().fold(machine, tighter))
}

/// What a limit leaves.
fn under(limit: u64, taken: u64) -> Memory {
    Memory { free: limit.saturating_sub(taken), all: limit }
}

/// What the control groups leave of which /proc/self/cgroup tells, in lines of number:controllers:path.
fn groups(root: &Path, listed: &str) -> Vec<Memory> {
    let mut found = Vec::new();
    for line in listed.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let names = match controllers {
            "" => V2,
            list if list.split(',').any(|name| name == "memory") => V1,
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        // Seen from a container, a group may lie outside of what is mounted: `/..`.
        if group.components().any(|part| !matches!(part, Component::Normal(_))) {
            continue;
        }
        // The last of them is the mount itself, where a container has its own group's files.
        for mount in names.mounts.map(|mount| root.join(mount)) {
            found.extend(group.ancestors().filter_map(|group| of_group(&mount.join(group), &names)));
        }
    }
    found
}

/// What one group leaves; none where it limits nothing.
fn of_group(folder: &Path, names: &Names) -> Option<Memory> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // Where there is none, v2 writes `max`.
    let limit = names.limits.iter().filter_map(|name| number(name)).min()?;
    let stat = read("memory.stat").unwrap_or_default();
    let droppable = field(&stat, names.droppable).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Some(under(limit, number(names.taken).unwrap_or(0).saturating_sub(droppable)))
}

/// What stands behind a name that a line begins with.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// A field that the kernel gives in KiB, in bytes.
pub(super) fn kib(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(text, name)?.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A machine of 8 GiB, of which 6 are free, with more files.
    fn machine(files: &[(&str, &str)]) -> Option<Memory> {
        let root = tempfile::tempdir().unwrap();
        let info = ("proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable:  6291456 kB\n");
        for (path, text) in [info].iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        memory(root.path())
    }

    fn mib(free: u64, all: u64) -> Option<Memory> {
        Some(Memory { free: free * MIB, all: all * MIB })
    }

    #[test]
    fn a_machine_without_limits_is_what_there_is() {
        let none = [
            ("proc/self/cgroup", "4:memory:/a\n0::/b\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1048576\n"),
            ("sys/fs/cgroup/b/memory.max", "max\n"),
            (
                "proc/self/limits",
                "Max address space         unlimited            unlimited            bytes\n",
            ),
        ];
        assert_eq!(machine(&[]), mib(6144, 8192));
        assert_eq!(machine(&none), mib(6144, 8192));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(memory(empty.path()), None);
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let v2 = [
            ("proc/self/cgroup", "0::/user/job\n"),
            ("sys/fs/cgroup/user/job/memory.max", "max\n"),
            ("sys/fs/cgroup/user/job/memory.high", "1073741824\n"),
            ("sys/fs/cgroup/user/job/memory.current", "314572800\n"),
            ("sys/fs/cgroup/user/job/memory.stat", "anon 1\ninactive_file 104857600\nactive_file 7\n"),
        ];
        assert_eq!(machine(&v2), mib(1024 - 200, 1024));
        let outer = [
            ("sys/fs/cgroup/user/memory.max", "536870912\n"),
            ("sys/fs/cgroup/user/memory.current", "629145600\n"),
        ];
        assert_eq!(machine(&[v2.as_slice(), &outer].concat()), mib(0, 512), "of the group around it");
        let container = [
            ("proc/self/cgroup", "0::/not/mounted\n"),
            ("sys/fs/cgroup/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/memory.current", "0\n"),
        ];
        assert_eq!(machine(&container), mib(2048, 2048));
        let v1 = [
            ("proc/self/cgroup", "5:cpu:/x\n4:memory,hugetlb:/docker/id\n0::/\n"),
            ("sys/fs/cgroup/memory/docker/id/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/docker/id/memory.usage_in_bytes", "536870912\n"),
            (
                "sys/fs/cgroup/memory/docker/id/memory.stat",
                "inactive_file 5\ntotal_inactive_file 268435456\n",
            ),
        ];
        assert_eq!(machine(&v1), mib(768, 1024));
        let odd = [("proc/self/cgroup", "0::/../../etc\nnothing\n0:\n"), ("etc/memory.max", "1\n")];
        assert_eq!(machine(&odd), mib(6144, 8192));
    }

    #[test]
    fn limits_of_the_process_count() {
        let limits = [
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max data size             unlimited            unlimited            bytes     \n\
                 Max address space         1073741824           unlimited            bytes     \n",
            ),
            ("proc/self/status", "VmPeak:\t 1 kB\nVmSize:\t  262144 kB\nVmData:\t 5 kB\n"),
        ];
        assert_eq!(machine(&limits), mib(768, 1024));
        let data = [
            (
                "proc/self/limits",
                "Max data size             104857600            unlimited            bytes\n",
            ),
            ("proc/self/status", "VmSize:\t  262144 kB\nVmData:\t 4096 kB\n"),
        ];
        assert_eq!(machine(&data), mib(96, 100));
    }
}
