//! What is asked of each method, and what it found.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sluice_core::files::free;
use sluice_core::method::{
    Ask, Asked, Findings, Found, Gesture, ListOf, Method, Pick, Picks, Place, Reached, Subject, SubjectKind,
    find,
};
use sluice_core::plan::{Item, Plan};
use sluice_core::spec::FieldKind;
use sluice_core::worker::{self, Failure};

use super::State;

/// The parameter that names the file which a method writes.
const FILE: &str = "file";

/// A method as the window holds it.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// Parameters that were changed.
    pub ask: Ask,
    /// Marked positions.
    pub picks: Picks,
    /// Which of its picks a click marks.
    pub brush: usize,
    /// Text file; none = the checkpoint's own text.
    pub text: Option<PathBuf>,
    /// Prompts that it is asked about in place of the one that is there.
    pub list: Option<ListOf>,
    /// Which of its figures is shown: its id, and how many of that id come before; none = the first.
    pub shown: Option<(String, usize)>,
    /// The newest findings.
    pub findings: Option<Arc<Findings>>,
    /// Why it found nothing, and what was asked then.
    pub failure: Option<(Box<Asked>, Failure)>,
    /// It was asked and has found nothing yet.
    pub awaited: bool,
    /// What was taken over from the newest findings.
    pub taken: Vec<Item>,
    /// What the newest findings come back from.
    pub kept: Option<Kept>,
}

/// A question and what its run came to.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The question.
    pub asked: Arc<Asked>,
    /// What its run came to.
    pub reached: Arc<Reached>,
}

/// All methods, by id; those that were not touched are as they are at first.
#[derive(Clone, Debug, Default)]
pub struct Studies {
    all: BTreeMap<&'static str, Study>,
    /// The one under way.
    pub running: Option<&'static str>,
    /// Whether the plan is that of the newest findings, by method, and of which question and plan that was said.
    plans: RefCell<BTreeMap<&'static str, (Compared, bool)>>,
}

/// A question's address, the plan's version, the prompt's length, and how much was taken over.
type Compared = (usize, u64, usize, usize);

impl Studies {
    /// A method, where it was touched.
    pub fn get(&self, id: &str) -> Option<&Study> {
        self.all.get(id)
    }

    /// A method, to be changed.
    pub fn get_mut(&mut self, id: &'static str) -> &mut Study {
        self.all.entry(id).or_default()
    }

    /// Those that were touched.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Study)> {
        self.all.iter().map(|(id, study)| (*id, study))
    }

    /// Forget what findings come back from: they are of another checkpoint. The methods' names.
    pub fn forget_kept(&mut self) -> Vec<&'static str> {
        let forgotten = self.all.iter_mut().filter_map(|(id, study)| study.kept.take().and(find(id)));
        forgotten.map(|method| method.name).collect()
    }

    /// Findings of a method.
    pub fn findings(&self, id: &str) -> Option<&Arc<Findings>> {
        self.get(id)?.findings.as_ref()
    }

    /// A method's own findings.
    pub fn found<T: Found>(&self, method: &Method) -> Option<&T> {
        self.findings(method.id)?.value()
    }

    /// Another prompt: positions mean something else.
    pub fn forget_picks(&mut self) {
        self.all.values_mut().for_each(|study| study.picks.clear());
    }

    /// The study under way has ended.
    pub fn ended(&mut self) {
        if let Some(study) = self.running.take().and_then(|id| self.all.get_mut(id)) {
            study.awaited = false;
        }
    }
}

/// A list without pairs that are not begun.
fn typed(list: &ListOf) -> ListOf {
    let map = list.map.iter().filter(|pair| !pair.is_empty()).cloned().collect();
    ListOf { map, ..list.clone() }
}

impl State {
    /// A parameter of a method as it would be asked.
    pub fn parameter(&self, method: &'static Method, name: &str) -> Value {
        let field = method.fields.iter().find(|field| field.name == name);
        let own = self.studies.get(method.id).and_then(|study| study.ask.get(name).cloned());
        match field {
            // One answer is followed everywhere.
            Some(field) if field.kind == FieldKind::Answer => {
                serde_json::to_value(&self.choices.answer).unwrap_or_default()
            }
            Some(field) => own.unwrap_or_else(field.default),
            None => Value::Null,
        }
    }

    /// A method as the window asks it.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub fn ask_of(&self, method: &'static Method) -> Result<Asked, String> {
        let study = self.studies.get(method.id).cloned().unwrap_or_default();
        let subject = match method.subject {
            SubjectKind::Prompt => match study.list {
                Some(list) => Subject::List(typed(&list)),
                None => Subject::Prompt(self.request_prompt()?),
            },
            SubjectKind::Text => Subject::Text(study.text),
            SubjectKind::None => Subject::Nothing,
        };
        if let Some(pick) = self
            .picks_of(method)
            .find(|pick| pick.required && study.picks.get(pick.name).is_none_or(Vec::is_empty))
        {
            return Err(format!("mark what is {} first: {}", pick.name, pick.help));
        }
        let mut asked = Asked::new(method, subject, self.history.plan());
        asked.ask =
            method.fields.iter().map(|f| (f.name.to_owned(), self.parameter(method, f.name))).collect();
        if !matches!(asked.subject, Subject::List(_)) {
            asked.picks = study.picks.into_iter().filter(|(_, at)| !at.is_empty()).collect();
        }
        asked.folder = self.beside(method);
        Ok(asked)
    }

    /// Where a method would write over a file, that stays: the new one gets a number, in the panel too.
    pub fn number_file(&mut self, method: &'static Method) {
        let Value::String(name) = self.parameter(method, FILE) else { return };
        let path = free(&self.beside(method).join(&name));
        if let Some(free) = path.file_name().filter(|free| !name.is_empty() && **free != *name) {
            let free = free.to_string_lossy().into_owned();
            self.studies.get_mut(method.id).ask.insert(FILE.into(), free.into());
        }
    }

    /// Questions whose findings are not there, and can come back.
    pub fn away(&self) -> Vec<worker::Study> {
        let away = self.studies.all.values().filter(|study| study.findings.is_none());
        let kept = away.filter_map(|study| study.kept.as_ref());
        kept.map(|Kept { asked, reached }| {
            // Its files lie beside the checkpoint that is open, whatever a session's file says.
            let asked = Asked { folder: self.beside(asked.method), ..(**asked).clone() };
            worker::Study { asked, from: Some(Arc::clone(reached)) }
        })
        .collect()
    }

    /// A folder for a method's files: in the open checkpoint's, or among the exports where that has none.
    fn beside(&self, method: &Method) -> PathBuf {
        let own = self.card.as_ref().and_then(|card| card.folder.as_ref());
        own.unwrap_or(&self.settings.export_folder).join(format!("{}s", method.id))
    }

    /// Ask and mark as a sample of a method does, by its number, on the prompt that is there.
    pub fn take_sample(&mut self, method: &'static Method, number: usize) {
        let Some(card) = &self.card else { return };
        let Some(sample) = (method.samples)(card).into_iter().nth(number) else { return };
        let picks = (sample.picks)(&self.results.tokens);
        let study = self.studies.get_mut(method.id);
        (study.ask, study.picks) = (sample.ask, picks);
        if self.history.plan().active().is_empty() && !sample.plan.items.is_empty() {
            self.take_typed();
            self.history.change("plan of the example", None, |plan| plan.items.extend(sample.plan.items));
        }
    }

    /// Why a method found nothing, while what it was asked is what it would be asked now.
    pub fn failure_of(&self, method: &'static Method) -> Option<&Failure> {
        let (asked, failure) = self.studies.get(method.id)?.failure.as_ref()?;
        self.ask_of(method).is_ok_and(|now| now == **asked).then_some(failure)
    }

    /// The picks that a method asks for on this prompt; items of a list mark their own.
    pub fn picks_of(&self, method: &'static Method) -> impl Iterator<Item = &'static Pick> + use<> {
        let picture = !self.image_positions().is_empty();
        let list = self.studies.get(method.id).is_some_and(|study| study.list.is_some());
        method.picks.iter().filter(move |pick| !(list || pick.text_only && picture))
    }

    /// What findings are of, where it is not what the window asks now. Asked of every method in every frame: nothing that
    /// grows with a plan is copied unless the plan has changed.
    pub fn earlier(&self, findings: &Findings) -> Option<&'static str> {
        let (of, method) = (&*findings.asked, findings.asked.method);
        let study = self.studies.get(method.id);
        let list = study.and_then(|study| study.list.as_ref());
        let (subject, what) = match &of.subject {
            Subject::Prompt(_) if list.is_some() => (false, "prompt"),
            // Where there is no prompt, there is nothing to compare.
            Subject::Prompt(prompt) => (self.request_prompt().map_or(true, |now| now == *prompt), "prompt"),
            Subject::List(of) => (list.is_some_and(|list| typed(list) == *of), "list"),
            Subject::Text(text) => (study.map_or(&None, |study| &study.text) == text, "text"),
            Subject::Nothing => (true, ""),
        };
        if !subject {
            return Some(what);
        }
        let empty = Picks::new();
        let picks = study.filter(|_| list.is_none()).map_or(&empty, |study| &study.picks);
        let marked = |picks: &Picks| picks.values().filter(|at| !at.is_empty()).count();
        let same = picks.iter().all(|(name, at)| at.is_empty() || of.picks.get(name) == Some(at));
        if !same || marked(picks) != marked(&of.picks) {
            return Some("marking");
        }
        let known = |name: &str| of.ask.get(name).cloned().unwrap_or_default();
        if method.fields.iter().any(|field| self.parameter(method, field.name) != known(field.name)) {
            return Some("choice");
        }
        (!self.is_plan_of(findings)).then_some("plan")
    }

    /// Whether the plan is that of findings; looked at once for each of its versions.
    fn is_plan_of(&self, findings: &Findings) -> bool {
        let method = findings.asked.method;
        let key = (
            std::ptr::from_ref(&*findings.asked) as usize,
            self.history.version(),
            self.results.tokens.len(),
            self.studies.get(method.id).map_or(0, |study| study.taken.len()),
        );
        let mut plans = self.studies.plans.borrow_mut();
        match plans.get(method.id) {
            Some((known, same)) if *known == key => *same,
            _ => {
                let same = self.less_taken(method) == findings.asked.plan;
                plans.insert(method.id, (key, same));
                same
            }
        }
    }

    /// The plan as a method takes it, less what was taken over from its findings.
    fn less_taken(&self, method: &'static Method) -> Plan {
        let taken = self.studies.get(method.id).map_or(&[][..], |study| &study.taken);
        let mut plan = self.history.plan().clone();
        plan.items.retain(|item| !taken.contains(item));
        (method.plan)(&plan).fitted(self.results.tokens.len())
    }

    /// Mark positions for a method, or take their marks away; `on` = only the one or the other.
    ///
    /// # Errors
    /// What stands in the way, as a sentence.
    pub fn mark(
        &mut self,
        method: &'static Method,
        pick: &'static Pick,
        positions: &[usize],
        on: Option<bool>,
    ) -> Result<(), String> {
        let tokens = &self.results.tokens;
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let begin = self.card.as_ref().map_or(0, |card| card.text_begins(&ids));
        let picks = &mut self.studies.get_mut(method.id).picks;
        let fits = |picks: &Picks, at: usize| pick.place.holds(at, picks, tokens);
        if let (Some(_), Some(where_)) = (positions.iter().find(|at| !fits(picks, **at)), place(pick.place)) {
            let inside =
                if self.image.is_some() { "the picture".into() } else { format!("the {}", where_.1) };
            return Err(format!("{} is marked {} {inside}", pick.name, where_.0));
        }
        let marked = picks.entry(pick.name.to_owned()).or_default();
        match (pick.gesture, positions.last()) {
            (Gesture::UpTo, Some(&end)) => {
                let again = marked.last() == Some(&end);
                *marked = if again { Vec::new() } else { (begin..=end).collect() };
            }
            _ => positions.iter().for_each(|&position| toggle(marked, position, on)),
        }
        // What lay in a set that is another now.
        for other in method.picks {
            let known = picks.clone();
            if let Some(marked) = picks.get_mut(other.name) {
                marked.retain(|&at| other.place.holds(at, &known, tokens));
            }
        }
        Ok(())
    }
}

/// How a place lies to a set, and the set.
fn place(place: Place) -> Option<(&'static str, &'static str)> {
    match place {
        Place::Anywhere => None,
        Place::Within(set) => Some(("inside", set)),
        Place::Outside(set) => Some(("outside", set)),
    }
}

fn toggle(marked: &mut Vec<usize>, position: usize, on: Option<bool>) {
    match (marked.binary_search(&position), on) {
        (Ok(index), None | Some(false)) => drop(marked.remove(index)),
        (Err(index), None | Some(true)) => marked.insert(index, position),
        _ => {}
    }
}
