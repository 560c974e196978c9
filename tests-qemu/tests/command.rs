//! `cargo xtask qemu --run` as people type it: output, exit status, rescue, timeout.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use machine::disk::DiskCopy;
use machine::{Image, image};
use serde_json::Value;

/// Runs the command on the image under test: the same options give the same image, from the cache.
fn qemu(arguments: &[&str]) -> anyhow::Result<Output> {
    xtask(&[&["qemu", "--services", "tests-qemu/services"], arguments].concat())
}

fn xtask(arguments: &[&str]) -> anyhow::Result<Output> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .arg("xtask")
        .args(arguments)
        .env_remove(image::VARIABLE)
        .current_dir(top)
        .output()
        .context("cannot run cargo")
}

fn check(output: &Output, status: i32) -> anyhow::Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(status),
        "{} instead of {status}:\n{words}",
        output.status
    );
    Ok(())
}

#[test]
fn run_prints_and_passes_the_status_on() -> anyhow::Result<()> {
    let output = qemu(&["--run", "sharkctl status --json"])?;
    check(&output, 0)?;
    let status: Value = serde_json::from_slice(&output.stdout).context("stdout is no JSON")?;
    let services = status.pointer("/services").and_then(Value::as_array);
    let services = services.with_context(|| format!("no services in {status}"))?;
    // One that is started by its first call is ready when it listens.
    let up = |service: &Value| {
        let state = service.get("state").and_then(Value::as_str);
        matches!(state, Some("up" | "listening"))
    };
    ensure!(
        services.len() > 8,
        "only {} services: {status}",
        services.len()
    );
    ensure!(services.iter().all(up), "not every service is up: {status}");

    let output = qemu(&["--run", "echo complaint >&2; exit 7"])?;
    check(&output, 7)?;
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("complaint"),
        "stderr is lost"
    );
    Ok(())
}

#[test]
fn rescue_and_time_have_a_status_of_their_own() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    disk.flip("shark-sig-a", 20)?;
    disk.flip("shark-sig-b", 20)?;
    let path = disk.path().to_string_lossy().into_owned();
    let output = qemu(&["--disk", &path, "--run", "true"])?;
    check(&output, 127)?;
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("shark: rescue:"),
        "it does not say why"
    );
    // Whether its time is over in the boot or in the command, which no machine is too fast for.
    check(&qemu(&["--timeout", "1", "--run", "sleep 1000"])?, 124)
}

#[test]
fn what_firmware_starts_has_the_agent_on_its_disk() -> anyhow::Result<()> {
    let uefi = ["--loader", "uefi", "--run", "cat /proc/cmdline"];
    let output = qemu(&uefi)?;
    check(&output, 0)?;
    let words = String::from_utf8_lossy(&output.stdout);
    ensure!(words.contains("shark.loader=uefi"), "started by: {words}");
    let output = qemu(&[&uefi[..], &["--append", "quiet"]].concat())?;
    check(&output, 125)?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(
        why.contains("--cmdline"),
        "it does not say what to do: {why}"
    );
    Ok(())
}

#[test]
fn the_base_system_is_made_for_arm64_too() -> anyhow::Result<()> {
    let arm64 = ["--arch", "aarch64", "--run", "uname -m; sharkctl boot info"];
    let output = qemu(&arm64)?;
    check(&output, 0)?;
    let words = String::from_utf8_lossy(&output.stdout);
    ensure!(words.starts_with("aarch64"), "it runs on: {words}");
    ensure!(
        words.contains("slot: a"),
        "it was not booted from a slot: {words}"
    );
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("shark.bundle");
    let bundle = bundle.to_string_lossy().into_owned();
    let output = xtask(&["bundle", "--arch", "aarch64", "--output", &bundle])?;
    check(&output, 0)?;
    let bytes = std::fs::read(&bundle)?;
    ensure!(bytes.starts_with(b"SHARKBUN"), "that is no bundle");
    Ok(())
}
