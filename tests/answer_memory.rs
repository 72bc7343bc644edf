//! What a gateway answers costs no memory but for what was asked. Alone in its process, whose peak is measured.
#![cfg(all(feature = "evsys", target_os = "linux"))]

#[path = "gateway/fixed.rs"]
mod fixed;

use std::fs;
use std::time::Duration;

use fixed::Fixed;
use grpo_metrics::row::Metrics;
use grpo_metrics::store::{EvSys, Experiment, Patience, Split, Store};

const ANSWER: usize = 20 << 20;

/// The memory of this process in kB, now (`VmRSS`) or at most (`VmHWM`).
fn memory(kind: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

type Ask = fn(&mut EvSys);

fn log(store: &mut EvSys) {
    let metrics: Metrics = [("loss", 0.5)].into_iter().collect();
    let _ = store.log_rows("r", &[(1, &metrics)], Split::Train);
}

#[test]
fn an_answer_costs_at_most_five_times_its_size_whatever_it_is_made_of() {
    let filled = |entry: &str| format!("{entry},").repeat(ANSWER / (entry.len() + 1)) + entry;
    let listed = |entry: &str| format!("{{\"result\": [{}]}}", filled(entry));
    let runs: Ask = |store| drop(store.list_runs(None, None));
    let metrics: Ask = |store| drop(store.get_metrics("r", Some("loss"), None));
    let run: Ask = |store| drop(store.get_run("r"));
    let create: Ask = |store| drop(store.create_experiment(&Experiment::default()));
    let answers: [(String, &[Ask]); 6] = [
        (listed("0"), &[log, runs]),
        (listed("{\"id\":\"\"}"), &[runs]),
        (listed("{\"step\":1,\"value\":1}"), &[metrics]),
        (
            listed(&format!("{{\"id\":1,\"x\":[{}0]}}", "0,".repeat(1000))),
            &[runs],
        ),
        (
            format!(
                "{{\"result\": {{\"id\": \"a\", \"x\": [{}]}}}}",
                filled("0")
            ),
            &[run, create],
        ),
        ("[".repeat(ANSWER), &[runs]),
    ];
    for (answer, asks) in answers {
        let shape = answer[..30].to_owned();
        let server = Fixed::start("200 OK", &answer);
        drop(answer);
        let patience = Patience {
            retries: 0,
            answer: Duration::from_secs(120),
            ..Patience::default()
        };
        let url = format!("http://{}", server.address);
        let mut store = EvSys::new(&url, "key").unwrap().patience(patience);
        // From here on the peak is told.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS:");
        for ask in asks {
            ask(&mut store);
        }
        assert!(!server.heard().is_empty());
        let grown = memory("VmHWM:").saturating_sub(before);
        println!("{grown} kB more for {shape}");
        assert!(
            grown < 5 * (ANSWER as u64 >> 10),
            "{grown} kB more for {shape}"
        );
    }
}
