//! What Python's engine takes beside the options of every engine: where rows and records go, and what gathers. One table, without a
//! word of Python's in it: `tests/docs/python.rs` makes the package's signatures of it, and `options.rs` takes no other names.

/// A line of the table.
pub struct Output {
    pub name: &'static str,
    /// Its type, as Python writes it. For the documents, as all that follows.
    #[allow(dead_code)]
    pub annotation: &'static str,
    #[allow(dead_code)]
    pub meaning: &'static str,
    /// What holds where it is not given.
    #[allow(dead_code)]
    pub none: &'static str,
}

#[rustfmt::skip] // a table: one keyword a line
pub const OUTPUTS: &[Output] = &[
    output("store", "str | PathLike[str] | object", "Where rows are stored: the path of a store (one SQLite file), or an object with EvSys's methods", "no store"),
    output("run", "str", "The name of the run that the store has the rows under; of a store that is an object, the run's id", "a name of the time: `2026-11-21-1402-quiet-heron`"),
    output("resume", "Literal[\"never\", \"allow\", \"must\"]", "Whether rows go on with the newest run of that name, of a store that is a path", "never: a run of its own, with a number behind the name where it is taken"),
    output("experiment", "str", "The experiment that the run is one of", "none"),
    output("group", "str", "The group of runs within the experiment", "none"),
    output("seed", "int", "The run's seed, a whole number", "none"),
    output("config", "Any", "What else the store is to know of the run: anything that JSON can say", "nothing"),
    output("sinks", "Iterable[str | PathLike[str] | object]", "Where rows go besides: paths of JSON lines, texts as `csv:rows.csv`, objects with `write(row)`", "nowhere"),
    output("journal", "str | PathLike[str] | Literal[False]", "A folder in which rows wait for sinks and store; False: nothing before them, each is written in the step", "a folder of each run's beside the store, else under `.grpo-metrics`"),
    output("gather", "object", "What joins the ranks: `TorchGather()`, or an object with `rank`, `world_size` and `gather`", "this process is the only rank"),
    output("replica", "bool", "Whether this rank holds a copy of another's data (of tensor, pipeline or context parallel ranks all but one): nothing of it is counted, and it gathers all the same", "as the gather says; else it holds data of its own"),
    output("recorder", "str | PathLike[str]", "A folder in which every record is written down, for `grpo-metrics replay`", "no recording"),
];

const fn output(
    name: &'static str,
    annotation: &'static str,
    meaning: &'static str,
    none: &'static str,
) -> Output {
    Output {
        name,
        annotation,
        meaning,
        none,
    }
}
