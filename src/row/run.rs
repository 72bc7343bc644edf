//! What belongs to the run and is no number: its texts, where it stands, and how it ended.

use std::fmt;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Texts that belong to the run and have the same keys in every dialect.
pub const RUN_KEYS: [&str; 6] = [
    "run/git_sha",
    "run/recipe_path",
    "run/method_name",
    "run/method_family",
    "run/method_backend",
    "run/method_slug",
];

/// Where an experiment or a run stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is created and has not begun.
    #[default]
    Pending,
    /// It has begun. A run whose process was killed stays so, until somebody goes on with it or marks it.
    Running,
    /// It has ended as it should.
    Completed,
    /// It was ended by an error.
    Failed,
    /// It was ended because somebody wanted it to.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The text form, the same in a store, in JSON and for a reader.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has ended, however it did.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a run or an experiment ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Completed, failed or cancelled; else it has not ended, and stays as it stands.
    pub status: Status,
    /// Why it failed or was cancelled; `None` where there is nothing to say.
    pub error_message: Option<String>,
    /// What an experiment has shown.
    pub conclusion: Option<String>,
}

impl Ending {
    /// Ended as it should.
    #[must_use]
    pub fn completed() -> Self {
        Self::of(Status::Completed, None)
    }

    /// Ended by an error.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self::of(Status::Failed, Some(error.into()))
    }

    /// Ended because somebody wanted it to.
    #[must_use]
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self::of(Status::Cancelled, Some(reason.into()))
    }

    /// Not ended: nobody has said how, and who opens the run next goes on with it.
    #[must_use]
    pub fn open() -> Self {
        Self::of(Status::Running, None)
    }

    fn of(status: Status, error_message: Option<String>) -> Self {
        Self {
            status,
            error_message,
            conclusion: None,
        }
    }
}

/// The texts of a run, in the order of [`RUN_KEYS`]; what is not known is "unknown".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunMetadata {
    /// The commit of the training's code, as git abbreviates it; `None` until [`RunMetadata::resolve`] finds it.
    pub git_sha: Option<String>,
    /// The file of the training's recipe; `None` until [`RunMetadata::resolve`] finds it.
    pub recipe_path: Option<String>,
    /// The training method's name.
    pub method_name: Option<String>,
    /// The family of methods that the method belongs to.
    pub method_family: Option<String>,
    /// The trainer that ran it.
    pub method_backend: Option<String>,
    /// The method's short name, as in file names.
    pub method_slug: Option<String>,
}

impl RunMetadata {
    /// What the caller knows, completed by `MAXENT_GIT_SHA` (else `git rev-parse --short HEAD` in the current folder)
    /// and by `GRPO_RECIPE_USED` (else `GRPO_RECIPE`).
    #[must_use]
    pub fn resolve(mut self, environment: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| environment(name).filter(|text| !text.is_empty());
        self.git_sha = self.git_sha.or_else(|| set("MAXENT_GIT_SHA")).or_else(head);
        self.recipe_path = self
            .recipe_path
            .or_else(|| set("GRPO_RECIPE_USED"))
            .or_else(|| set("GRPO_RECIPE"));
        self
    }

    /// Where each text stands, by its name without `run/`, in the order of [`RUN_KEYS`].
    pub fn places(&mut self) -> [(&'static str, &mut Option<String>); RUN_KEYS.len()] {
        [
            ("git_sha", &mut self.git_sha),
            ("recipe_path", &mut self.recipe_path),
            ("method_name", &mut self.method_name),
            ("method_family", &mut self.method_family),
            ("method_backend", &mut self.method_backend),
            ("method_slug", &mut self.method_slug),
        ]
    }

    /// Each key with its text.
    #[must_use]
    pub fn text(&self) -> Vec<(String, String)> {
        let mut texts = self.clone();
        let texts = texts.places().map(|(name, text)| {
            let text = text.take().unwrap_or_else(|| "unknown".to_owned());
            (format!("run/{name}"), text)
        });
        texts.into()
    }
}

/// The commit that the current folder stands on, if git knows one.
fn head() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_goes_before_the_environment_and_what_nobody_knows_is_unknown() {
        let environment = |name: &str| match name {
            "MAXENT_GIT_SHA" => Some("abc1234".to_owned()),
            "GRPO_RECIPE_USED" => Some(String::new()),
            "GRPO_RECIPE" => Some("recipes/a.yaml".to_owned()),
            _ => None,
        };
        let own = RunMetadata {
            git_sha: Some("mine".to_owned()),
            ..RunMetadata::default()
        };
        let text = own.resolve(environment).text();
        let texts: Vec<&str> = text.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "mine",
                "recipes/a.yaml",
                "unknown",
                "unknown",
                "unknown",
                "unknown"
            ]
        );
        let text = RunMetadata::default().resolve(environment).text();
        assert_eq!(text[0], ("run/git_sha".to_owned(), "abc1234".to_owned()));
    }
}
