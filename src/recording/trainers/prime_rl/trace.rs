//! One agent's trace: a graph of messages, each with the tokens that it adds. A branch is a way from a root to a leaf.

use serde_json::Value;

use super::super::super::cell::{Bit, Natural, NumberOrBit, Single, Text};
use super::super::super::fault::Fault;
use super::super::row::{as_long_as, inside, list, many, members, one};

/// What a trace may say of its sampled tokens beside how they were sampled: each with the column that it is.
pub(super) const STREAMS: [(&str, &str); 3] = [
    ("reference_logprobs", "ref_token_logps"),
    ("trainer_logprobs", "token_logps"),
    ("entropies", "token_entropies"),
];

/// Why a trace stopped that did not end by itself, as verifiers has them.
const LIMITS: [&str; 7] = [
    "max_turns",
    "max_input_tokens",
    "max_output_tokens",
    "max_total_tokens",
    "max_turn_tokens",
    "context_length",
    "compaction_failed",
];

#[derive(Default)]
pub(super) struct Trace {
    pub id: String,
    pub is_trained: bool,
    /// The sum of score times weight; `None` where nothing was scored.
    pub reward: Option<f64>,
    pub scores: Vec<(String, Option<f64>)>,
    pub is_truncated: bool,
    pub stopped: Option<String>,
    /// Whether it came to an end without an error; `None` where it does not say.
    pub is_ok: Option<bool>,
    pub turns: u32,
    pub tool_calls: u32,
    pub prompt: String,
    pub completion: String,
    pub prompt_tokens: Vec<u32>,
    pub tokens: Vec<u32>,
    pub mask: Vec<u8>,
    pub sampled: Vec<f32>,
    pub advantages: Vec<f32>,
    /// As [`STREAMS`] has them.
    pub streams: [Vec<f32>; STREAMS.len()],
    /// A message was generated whose tokens are not there, or of which nothing is said in a stream.
    pub lacks_tokens: bool,
    pub lacks: [bool; STREAMS.len()],
}

/// One message.
struct Node {
    parent: Option<usize>,
    text: String,
    is_sampled: bool,
    tool_calls: usize,
    tokens: Vec<u32>,
    mask: Vec<bool>,
    /// Spread over all tokens: 0 where none was sampled.
    logps: Vec<f32>,
    advantages: Vec<f32>,
    streams: [Option<Vec<f32>>; STREAMS.len()],
}

impl Trace {
    pub fn of(value: &Value, nth: usize) -> Result<Self, Fault> {
        let at = |field: &str| format!("traces[{nth}].{field}");
        let given = |field: &str| value.get(field).filter(|value| !value.is_null());
        let mut trace = Self {
            id: given("id").map_or(Ok(String::new()), |id| one::<Text>(&at("id"), id))?,
            ..Self::default()
        };
        let agent = given("agent").map(|agent| inside(&at("agent"), agent, "trainable"));
        trace.is_trained = match agent.transpose()?.flatten() {
            Some(trainable) => one::<Bit>(&at("agent.trainable"), trainable)?,
            None => true,
        };
        trace.score(given("rewards"), &at("rewards"))?;
        let stopped = given("stop_condition").map(|word| one::<Text>(&at("stop_condition"), word));
        trace.stopped = stopped.transpose()?;
        let is_limit = |word: &str| LIMITS.contains(&word);
        trace.is_truncated =
            trace.stopped.as_deref().is_some_and(is_limit) || cut(given("calls"), &at("calls"))?;
        trace.is_ok = given("ok")
            .map(|ok| one::<Bit>(&at("ok"), ok))
            .transpose()?;
        let nodes = given("nodes").ok_or(Fault::Missing {
            field: "nodes",
            of: "a trace",
        })?;
        let nodes: Vec<Node> = list(&at("nodes"), nodes)?
            .iter()
            .enumerate()
            .map(|(id, node)| Node::of(node, id, &format!("{}[{id}]", at("nodes"))))
            .collect::<Result<_, _>>()?;
        let sampled = nodes.iter().filter(|node| node.is_sampled);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        trace.turns = count(sampled.clone().count());
        trace.tool_calls = count(sampled.map(|node| node.tool_calls).sum());
        trace.walk(&nodes);
        Ok(trace)
    }

    fn score(&mut self, rewards: Option<&Value>, field: &str) -> Result<(), Fault> {
        let Some(rewards) = rewards else {
            return Ok(());
        };
        for (name, reward) in members(field, rewards)? {
            let number = |member: &str| {
                let at = format!("{field}.{name}");
                let value = match reward {
                    Value::Null => None,
                    reward => inside(&at, reward, member)?,
                };
                let read = |value| one::<NumberOrBit>(&format!("{at}.{member}"), value);
                value.map(read).transpose()
            };
            let (score, weight) = (number("score")?, number("weight")?.unwrap_or(1.0));
            if let Some(score) = score {
                self.reward = Some(self.reward.unwrap_or(0.0) + score * weight);
            }
            self.scores.push((name.clone(), score));
        }
        Ok(())
    }

    /// Takes the branches' tokens: what an earlier branch trains on is context in a later one.
    fn walk(&mut self, nodes: &[Node]) {
        let mut is_parent = vec![false; nodes.len()];
        for parent in nodes.iter().filter_map(|node| node.parent) {
            if let Some(is_parent) = is_parent.get_mut(parent) {
                *is_parent = true;
            }
        }
        let mut trained = vec![false; nodes.len()];
        let leaves = is_parent
            .iter()
            .enumerate()
            .filter(|(_, is_parent)| !**is_parent);
        for (nth, (leaf, _)) in leaves.enumerate() {
            let mut way = Vec::new();
            let mut at = Some(leaf);
            while let Some((id, node)) = at.and_then(|id| Some((id, nodes.get(id)?))) {
                way.push((id, node));
                at = node.parent;
            }
            way.reverse();
            self.texts(&way, nth == 0);
            self.branch(&way, &mut trained);
        }
        self.lacks_tokens = nodes
            .iter()
            .any(|node| node.is_sampled && node.tokens.is_empty());
        for (nth, lacks) in self.lacks.iter_mut().enumerate() {
            let has = |node: &Node| node.streams.get(nth).is_some_and(Option::is_some);
            *lacks = nodes
                .iter()
                .any(|node| node.mask.contains(&true) && !has(node));
        }
    }

    /// The prompt's text is what comes before the first message that was generated.
    fn texts(&mut self, way: &[(usize, &Node)], is_first: bool) {
        let prompt = way.iter().position(|(_, node)| node.is_sampled);
        let (prompt, rest) = way.split_at(prompt.unwrap_or(way.len()));
        let joined = |nodes: &[(usize, &Node)], all: bool| {
            let texts = nodes.iter().filter(|(_, node)| all || node.is_sampled);
            let texts: Vec<&str> = texts.map(|(_, node)| node.text.as_str()).collect();
            texts.join("\n")
        };
        if is_first {
            self.prompt = joined(prompt, true);
        }
        // The last branch's, as verifiers takes a trace's messages.
        self.completion = joined(rest, false);
    }

    fn branch(&mut self, way: &[(usize, &Node)], trained: &mut [bool]) {
        let (mut tokens, mut mask) = (Vec::new(), Vec::new());
        let (mut sampled, mut advantages) = (Vec::new(), Vec::new());
        let mut streams: [Vec<f32>; STREAMS.len()] = Default::default();
        for (id, node) in way {
            let is_context = trained.get(*id).copied().unwrap_or(true);
            if let Some(trained) = trained.get_mut(*id) {
                *trained |= node.mask.contains(&true);
            }
            tokens.extend_from_slice(&node.tokens);
            mask.extend(
                node.mask
                    .iter()
                    .map(|marked| u8::from(*marked && !is_context)),
            );
            sampled.extend_from_slice(&node.logps);
            advantages.extend_from_slice(&node.advantages);
            for (stream, cells) in streams.iter_mut().zip(&node.streams) {
                stream.extend(cells.iter().flatten());
                stream.resize(tokens.len(), 0.0);
            }
        }
        let Some(first) = mask.iter().position(|marked| *marked != 0) else {
            return;
        };
        let end = mask
            .iter()
            .rposition(|marked| *marked != 0)
            .map_or(first, |at| at + 1);
        if self.tokens.is_empty() {
            self.prompt_tokens = tokens.get(..first).unwrap_or_default().to_vec();
        }
        self.tokens.extend(tokens.into_iter().take(end).skip(first));
        self.mask.extend(mask.into_iter().take(end).skip(first));
        self.sampled
            .extend(sampled.into_iter().take(end).skip(first));
        for (all, stream) in self.streams.iter_mut().zip(streams) {
            all.extend(stream.into_iter().take(end).skip(first));
        }
        self.advantages
            .extend(advantages.into_iter().take(end).skip(first));
    }
}

/// Whether the last call that went well was cut off by its length.
fn cut(calls: Option<&Value>, field: &str) -> Result<bool, Fault> {
    let calls = calls.map_or(Ok(&[][..]), |calls| list(field, calls))?;
    for (nth, call) in calls.iter().enumerate().rev() {
        let at = format!("{field}[{nth}]");
        if inside(&at, call, "error")?.is_none() {
            let reason = inside(&at, call, "finish_reason")?;
            return Ok(reason.is_some_and(|reason| reason == "length"));
        }
    }
    Ok(false)
}

impl Node {
    fn of(value: &Value, id: usize, at: &str) -> Result<Self, Fault> {
        let given = |field: &str| value.get(field).filter(|value| !value.is_null());
        let name = |field: &str| format!("{at}.{field}");
        let parent = given("parent").map(|parent| one::<Natural>(&name("parent"), parent));
        let parent = parent.transpose()?.map(|parent| parent as usize);
        if parent.is_some_and(|parent| parent >= id) {
            return Err(Fault::Cell {
                field: name("parent"),
                expected: format!("a message before it, less than {id}"),
                found: parent.unwrap_or(id).to_string(),
            });
        }
        let tokens = given("token_ids").map(|ids| many::<Natural>(&name("token_ids"), ids));
        let tokens = tokens.transpose()?.unwrap_or_default();
        let mask = given("mask").map(|mask| many::<Bit>(&name("mask"), mask));
        let mask = mask.transpose()?.unwrap_or_default();
        as_long_as(&name("mask"), mask.len(), "token_ids", tokens.len())?;
        let sampled = mask.iter().filter(|marked| **marked).count();
        // One cell for each token that was sampled.
        let spread = |field: &str| -> Result<Option<Vec<f32>>, Fault> {
            let Some(cells) = given(field) else {
                return Ok(None);
            };
            let cells = many::<Single>(&name(field), cells)?;
            if cells.is_empty() && sampled == 0 {
                return Ok(Some(vec![0.0; mask.len()]));
            }
            as_long_as(&name(field), cells.len(), "mask", sampled)?;
            let mut cells = cells.into_iter();
            let all = mask
                .iter()
                .map(|marked| marked.then(|| cells.next()).flatten());
            Ok(Some(all.map(Option::unwrap_or_default).collect()))
        };
        let none = || vec![0.0; mask.len()];
        let logps = spread("logprobs")?;
        let is_sampled = given("sampled").map(|sampled| one::<Bit>(&name("sampled"), sampled));
        let message = given("message");
        let calls = message.map(|message| inside(&name("message"), message, "tool_calls"));
        let calls = calls.transpose()?.flatten();
        let calls = calls.map(|calls| list(&name("message.tool_calls"), calls));
        Ok(Self {
            parent,
            tool_calls: calls.transpose()?.map_or(0, <[_]>::len),
            text: given("message").map_or_else(String::new, text),
            is_sampled: is_sampled.transpose()?.unwrap_or(false),
            logps: logps.unwrap_or_else(none),
            advantages: spread("advantages")?.unwrap_or_else(none),
            streams: [
                spread(STREAMS[0].0)?,
                spread(STREAMS[1].0)?,
                spread(STREAMS[2].0)?,
            ],
            tokens,
            mask,
        })
    }
}

/// A message's text, without its pictures.
fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
