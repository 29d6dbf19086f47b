//! Stowage before a real API server: its definitions, its policies and its webhook.
//!
//! Needs etcd and kube-apiserver, which are looked for in `$KUBEBUILDER_ASSETS`, `/usr/local/kubebuilder/bin` and
//! `PATH`; without them every test passes and one line says that it was skipped, unless `STOWAGE_REQUIRE_CONTROL_PLANE`
//! is set. Nothing is downloaded. All tests share one control plane, each with namespaces of its own.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what the tests share fails them where it fails")]

mod certificates;
mod client;
mod cluster;
mod e2e;
mod overlays;
mod policies;
mod refusals;
mod watcher;
mod webhook;
