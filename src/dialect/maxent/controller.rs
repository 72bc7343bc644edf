//! What the controller of the weights and the meta-controller above it say of themselves, in the snapshot of each step.

use super::{Line, Reduction, kl, line, weight_entropy};
use crate::batch::scalars::{Meta, Weighting};
use crate::kernel::exp::ln;
use crate::summary::Summary;

#[rustfmt::skip] // a table: one key a line
pub(super) const CONTROLLER: &[Line] = &[
    line("train/weight_norm_denom", "1", "denominator of the weight normalisation", Reduction::Last, |s| controller(s, |w| or_zero(w.weight_norm_denom))),
    line("train/weighting/tau", "1", "weight temperature", Reduction::Last, |s| controller(s, |w| or_zero(w.tau))),
    line("train/weighting/beta", "1", "KL coefficient", Reduction::Last, |s| controller(s, |w| or_zero(w.beta))),
    line("train/tau_log", "1", "ln tau", Reduction::Last, |s| controller(s, tau_log)),
    line("train/q_temperature", "1", "temperature of q", Reduction::Last, |s| controller(s, |w| or_zero(w.q_temperature))),
    line("train/q_epsilon", "1", "floor of q", Reduction::Last, |s| controller(s, |w| or_zero(w.q_epsilon))),
    line("train/tau_lr", "1", "learning rate of tau", Reduction::Last, |s| controller(s, tau_lr)),
    line("train/tau_min", "1", "smallest tau", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_min))),
    line("train/tau_max", "1", "largest tau", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_max))),
    line("train/tau_warmup_steps", "steps", "steps before tau moves", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_warmup_steps))),
    line("train/tau_target_entropy", "nats", "target of the weight entropy; 0 without one", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_target_entropy))),
    line("train/tau_target_enabled", "0/1", "1 if there is a target", Reduction::Last, |s| {
        controller(s, |w| indicator(w.tau_target_entropy.is_some()))
    }),
    line("train/tau_schedule_active", "0/1", "1 if tau follows its target at this step", Reduction::Last, tau_schedule_active),
    line("train/kl_controller_target", "nats", "target of the KL controller", Reduction::Last, |s| controller(s, |w| or_zero(w.kl_target))),
    line("train/kl_controller_horizon", "steps", "horizon of the KL controller", Reduction::Last, |s| controller(s, |w| or_zero(w.kl_horizon))),
    line("train/kl_controller_step_size", "1", "step size of the KL controller", Reduction::Last, |s| controller(s, |w| or_zero(w.kl_step_size))),
    line("train/kl_controller_enabled", "0/1", "1 if meta is off and the three above are positive", Reduction::Last, |s| controller(s, kl_controller_enabled)),
    line("train/len_norm_ref", "0/1", "1 if reference scores are normalised by length", Reduction::Last, |s| controller(s, |w| flag(w.len_norm_ref))),
    line("train/maxent_objective", "0/1", "1 - grpo_objective", Reduction::Last, |s| controller(s, |w| 1.0 - flag(w.train_grpo_objective))),
    line("train/delta_tau", "1", "tau less the tau before; 0 without one", Reduction::Last, delta_tau),
    line("train/delta_tau_abs", "1", "size of delta_tau", Reduction::Last, |s| Some(delta_tau(s)?.abs())),
    line("train/delta_beta", "1", "beta less the beta before; 0 without one", Reduction::Last, delta_beta),
    line("train/delta_beta_abs", "1", "size of delta_beta", Reduction::Last, |s| Some(delta_beta(s)?.abs())),
    line("train/weighting/weight_norm_denom", "1", "as train/weight_norm_denom", Reduction::Last, |s| controller(s, |w| or_zero(w.weight_norm_denom))),
    line("train/weighting/tau_log", "1", "as train/tau_log", Reduction::Last, |s| controller(s, tau_log)),
    line("train/weighting/q_temperature", "1", "as train/q_temperature", Reduction::Last, |s| controller(s, |w| or_zero(w.q_temperature))),
    line("train/weighting/q_epsilon", "1", "as train/q_epsilon", Reduction::Last, |s| controller(s, |w| or_zero(w.q_epsilon))),
    line("train/weighting/tau_lr", "1", "as train/tau_lr", Reduction::Last, |s| controller(s, tau_lr)),
    line("train/weighting/tau_min", "1", "as train/tau_min", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_min))),
    line("train/weighting/tau_max", "1", "as train/tau_max", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_max))),
    line("train/weighting/tau_warmup_steps", "steps", "as train/tau_warmup_steps", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_warmup_steps))),
    line("train/weighting/tau_target_entropy", "nats", "as train/tau_target_entropy", Reduction::Last, |s| controller(s, |w| or_zero(w.tau_target_entropy))),
    line("train/weighting/tau_schedule_active", "0/1", "as train/tau_schedule_active", Reduction::Last, tau_schedule_active),
    line("train/weighting/delta_tau", "1", "as train/delta_tau", Reduction::Last, delta_tau),
    line("train/weighting/delta_tau_abs", "1", "as train/delta_tau_abs", Reduction::Last, |s| Some(delta_tau(s)?.abs())),
    line("train/weighting/delta_beta", "1", "as train/delta_beta", Reduction::Last, delta_beta),
    line("train/weighting/delta_beta_abs", "1", "as train/delta_beta_abs", Reduction::Last, |s| Some(delta_beta(s)?.abs())),
    line("train/weighting/tau_loss", "nats^2", "half the squared entropy error; 0 where there is no target", Reduction::Derived, |s| {
        controller(s, |_| 0.0).map(|none| tau_loss(s).unwrap_or(none))
    }),
    line("train/kl_controller/target", "nats", "as train/kl_controller_target", Reduction::Last, |s| controller(s, |w| or_zero(w.kl_target))),
    line("train/kl_controller/horizon", "steps", "as train/kl_controller_horizon", Reduction::Last, |s| controller(s, |w| or_zero(w.kl_horizon))),
    line("train/kl_controller/step_size", "1", "as train/kl_controller_step_size", Reduction::Last, |s| controller(s, |w| or_zero(w.kl_step_size))),
    line("train/kl_controller/enabled", "0/1", "as train/kl_controller_enabled", Reduction::Last, |s| controller(s, kl_controller_enabled)),
    line("train/kl_error_to_target", "nats", "KL less the controller's target, where it is positive", Reduction::Derived, |s| {
        kl_against_target(s, |kl, target| kl - target)
    }),
    line("train/kl_ratio_to_target", "1", "KL over max(target, 1e-8), where the target is positive", Reduction::Derived, |s| {
        kl_against_target(s, |kl, target| kl / target.max(1e-8))
    }),
    line("train/weight_entropy_error", "nats", "weight entropy less its target", Reduction::Derived, entropy_error),
    line("train/weight_entropy_abs_error", "nats", "size of weight_entropy_error", Reduction::Derived, |s| Some(entropy_error(s)?.abs())),
    line("train/tau_loss", "nats^2", "half the squared entropy error", Reduction::Derived, tau_loss),
];

#[rustfmt::skip] // a table: one key a line
pub(super) const META: &[Line] = &[
    line("train/meta/enabled", "0/1", "1 if the meta-controller is on", Reduction::Last, |s| meta(s, |m| flag(m.enabled))),
    line("train/meta/lr", "1", "its learning rate", Reduction::Last, |s| meta(s, |m| or_zero(m.learning_rate))),
    line("train/meta/update_interval", "steps", "steps between its updates", Reduction::Last, |s| meta(s, |m| or_zero(m.update_interval))),
    line("train/meta/truncation_steps", "steps", "steps it unrolls", Reduction::Last, |s| meta(s, |m| or_zero(m.truncation_steps))),
    line("train/meta/use_hessian", "0/1", "1 if it uses the Hessian", Reduction::Last, |s| meta(s, |m| flag(m.use_hessian))),
    line("train/meta/tau_grad", "1", "last gradient of tau", Reduction::Last, |s| meta(s, |m| or_zero(m.last_tau_grad))),
    line("train/meta/beta_grad", "1", "last gradient of beta", Reduction::Last, |s| meta(s, |m| or_zero(m.last_beta_grad))),
    line("train/meta/grad_norm", "1", "sqrt(tau_grad^2 + beta_grad^2)", Reduction::Last, |s| {
        meta(s, |m| {
            let (tau, beta) = (or_zero(m.last_tau_grad), or_zero(m.last_beta_grad));
            (tau * tau + beta * beta).sqrt()
        })
    }),
    line("train/meta/loss", "nats", "its last loss", Reduction::Last, |s| meta(s, |m| or_zero(m.last_loss))),
    line("train/meta/tau_projected", "1", "tau as projected", Reduction::Last, |s| meta(s, |m| or_zero(m.tau_projected))),
    line("train/meta/beta_projected", "1", "beta as projected", Reduction::Last, |s| meta(s, |m| or_zero(m.beta_projected))),
];

fn or_zero(x: Option<f64>) -> f64 {
    x.unwrap_or(0.0)
}

fn indicator(x: bool) -> f64 {
    f64::from(u8::from(x))
}

pub(super) fn flag(x: Option<bool>) -> f64 {
    indicator(x.unwrap_or(false))
}

/// A number of the controller's snapshot; left out without any.
pub(super) fn controller(s: &Summary, take: impl Fn(&Weighting) -> f64) -> Option<f64> {
    s.weighting.as_ref().map(take)
}

/// A number of the meta-controller; 0 where the snapshot has none.
fn meta(s: &Summary, take: impl Fn(&Meta) -> f64) -> Option<f64> {
    controller(s, |w| w.meta.as_ref().map_or(0.0, &take))
}

fn meta_is_on(w: &Weighting) -> bool {
    w.meta.as_ref().and_then(|m| m.enabled).unwrap_or(false)
}

fn tau_log(w: &Weighting) -> f64 {
    w.tau_log
        .unwrap_or_else(|| w.tau.map_or(0.0, |tau| ln(tau.max(1e-8))))
}

fn tau_lr(w: &Weighting) -> f64 {
    or_zero(w.tau_lr_effective.or(w.tau_lr))
}

fn tau_schedule_active(s: &Summary) -> Option<f64> {
    controller(s, |w| {
        let warmed = s.step as f64 > or_zero(w.tau_warmup_steps).max(0.0);
        indicator(!meta_is_on(w) && w.tau_target_entropy.is_some() && warmed)
    })
}

fn kl_controller_enabled(w: &Weighting) -> f64 {
    let positive = |x: Option<f64>| x.is_some_and(|x| x > 0.0);
    indicator(
        !meta_is_on(w)
            && positive(w.kl_target)
            && positive(w.kl_horizon)
            && positive(w.kl_step_size),
    )
}

/// The snapshot's own previous value counts before the one that the engine kept.
fn delta(now: Option<f64>, own: Option<f64>, kept: Option<f64>) -> f64 {
    match (now, own.or(kept)) {
        (Some(now), Some(before)) => now - before,
        _ => 0.0,
    }
}

fn delta_tau(s: &Summary) -> Option<f64> {
    controller(s, |w| delta(w.tau, w.prev_tau, s.course.previous_tau))
}

fn delta_beta(s: &Summary) -> Option<f64> {
    controller(s, |w| delta(w.beta, w.prev_beta, s.course.previous_beta))
}

fn entropy_error(s: &Summary) -> Option<f64> {
    let target = s.weighting.as_ref()?.tau_target_entropy?;
    Some(weight_entropy(s)? - target)
}

fn tau_loss(s: &Summary) -> Option<f64> {
    let error = entropy_error(s)?;
    Some(error * error / 2.0)
}

fn kl_against_target(s: &Summary, take: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let target = s
        .weighting
        .as_ref()?
        .kl_target
        .filter(|target| *target > 0.0)?;
    Some(take(kl(s)?, target))
}
