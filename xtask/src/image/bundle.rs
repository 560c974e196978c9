//! `cargo xtask bundle`: one system as a signed bundle, for `sharkctl update install`. The same inputs
//! give the same bytes. Not here: the system itself (`root`, `slots`), the format (`mounts::bundle`).

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use mounts::bundle::{self, Entry, Front, Layout, Part};
use mounts::manifest;
use mounts::slot::Slot;

use super::key::ImageKey;
use super::slots::{self, Release, SlotImage};
use super::{ImageOptions, Inputs, Sealed};
use crate::cache::{self, Hasher};
use crate::setup::{self, Need};
use crate::{command, paths};

/// How many bundles are kept for an architecture.
const KEEP: usize = 16;

/// Arguments of `cargo xtask bundle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    pub(crate) options: ImageOptions,
    #[command(flatten)]
    pub(crate) form: BundleForm,
    /// Write the bundle here as well
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
}

/// How a bundle is cut and packed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct BundleForm {
    /// Bytes that a chunk holds, a power of two: a broken transfer goes on with the chunk it was at
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) chunk_size: u32,
    /// Level of zstd
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u8).range(1..=19))]
    pub(crate) level: u8,
    /// Make it even if its services have problems, to see what a device says of them
    #[arg(long)]
    pub(crate) unchecked: bool,
}

impl Default for BundleForm {
    fn default() -> Self {
        Self {
            chunk_size: 1 << 20,
            level: 9,
            unchecked: false,
        }
    }
}

/// The command itself: makes the bundle and prints where it is.
pub(crate) fn run(args: &BundleArgs) -> Result<()> {
    let path = make(&args.options, args.form)?;
    let path = match &args.output {
        None => path,
        Some(output) => {
            fs::copy(&path, output)
                .with_context(|| format!("cannot copy to {}", output.display()))?;
            output.clone()
        }
    };
    eprintln!("{:>12}  bytes", fs::metadata(&path)?.len());
    println!("{}", path.display());
    Ok(())
}

/// Makes the bundle of what slot a of such an image would hold. With nothing changed since last time,
/// nothing is made.
pub(crate) fn make(options: &ImageOptions, form: BundleForm) -> Result<PathBuf> {
    setup::need(&[Need::Image])?;
    let _lock = paths::lock()?;
    let mut inputs = Inputs::gather(options)?;
    inputs.unchecked = form.unchecked;
    let sealed = inputs.sealed_root(Slot::A, &paths::cache())?;
    let (version, security_version) = options.versions(Slot::A);
    let mut hasher = Hasher::new("bundle");
    hasher.bytes(&sealed.key.0).text(version);
    hasher.bytes(&security_version.to_le_bytes());
    hasher.text(&inputs.signer.public.to_text());
    hasher.text(&format!("{form:?}"));
    let links = inputs.links.as_ref().map_or(&[][..], |it| &it.bytes);
    hasher.bytes(links);
    let output = paths::arch_output(options.arch);
    let place = output.join(format!("bundle-{}", hasher.finish().short()));
    let dir = cache::directory(place, "writing the bundle (about 10 s)", |fresh| {
        pack_root(&inputs, &sealed, form, &fresh.join("shark.bundle"))
    })?;
    cache::prune(&output, "bundle-", KEEP)?;
    Ok(dir.join("shark.bundle"))
}

/// Makes the bundle of a root that was made out of the way, in `place`, and compares it with `first`.
pub(super) fn check_reproducible(
    inputs: &Inputs<'_>,
    sealed: &Sealed,
    first: &Path,
    place: &Path,
) -> Result<()> {
    let second = place.join("shark.bundle");
    pack_root(inputs, sealed, BundleForm::default(), &second)?;
    command::run(command::new("cmp").arg(first).arg(&second))
        .context("not reproducible: the same inputs gave another bundle")
}

/// Makes a bundle of the root for slot a.
fn pack_root(inputs: &Inputs<'_>, sealed: &Sealed, form: BundleForm, target: &Path) -> Result<()> {
    let (version, security_version) = inputs.options.versions(Slot::A);
    let release = Release {
        version: version.to_owned(),
        security_version,
        architecture: inputs.options.arch.dps(),
    };
    let links = inputs.links.as_ref().map_or(&[][..], |it| &it.bytes);
    pack(&sealed.image, &release, &inputs.signer, links, form, target)
}

/// Makes a bundle of the sealed root `image`, at `target`; intermediate files go beside it.
pub(super) fn pack(
    image: &Path,
    release: &Release,
    signer: &ImageKey,
    links: &[u8],
    form: BundleForm,
    target: &Path,
) -> Result<()> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let made = slots::make("bundle", image, dir, release, signer)?;
    write(&made, form, signer, links, target)?;
    fs::remove_file(&made.verity)
        .and_then(|()| fs::remove_file(&made.signature))
        .context("cannot remove an intermediate file")
}

fn write(
    made: &SlotImage,
    form: BundleForm,
    signer: &ImageKey,
    links: &[u8],
    target: &Path,
) -> Result<()> {
    let signers = signer.keyring();
    let signed = fs::read(&made.signature)?;
    let manifest = manifest::verify(&signed, &signers).map_err(|error| anyhow!("{error}"))?;
    let layout = Layout::new(&manifest, form.chunk_size).map_err(|error| anyhow!("{error}"))?;
    let mut images = [File::open(&made.root)?, File::open(&made.verity)?];
    let mut entries = Vec::new();
    let mut stored = Vec::new();
    for number in 0..layout.chunks() {
        let (part, _, length) = layout.place(number).context("a chunk without a place")?;
        let [root, verity] = &mut images;
        let image = match part {
            Part::Root => root,
            Part::Verity => verity,
        };
        let mut content = vec![0; length as usize];
        image
            .read_exact(&mut content)
            .context("cannot read an image")?;
        let packed = compress(&content, form.level)?;
        entries.push(Entry::of(&packed, &content).map_err(|error| anyhow!("{error}"))?);
        stored.push(packed);
    }
    let sign = |message: &[u8]| signer.sign(message);
    let head =
        bundle::encode(&signed, &layout, &entries, sign).map_err(|error| anyhow!("{error}"))?;
    Front::read(&head, &mut signers.clone())
        .map_err(|error| anyhow!("the bundle does not verify: {error}"))?;
    let mut file =
        File::create(target).with_context(|| format!("cannot create {}", target.display()))?;
    file.write_all(links)?;
    file.write_all(&head)?;
    stored.iter().try_for_each(|chunk| file.write_all(chunk))?;
    Ok(())
}

/// One zstd frame, by the program that the image is measured with.
fn compress(content: &[u8], level: u8) -> Result<Vec<u8>> {
    let mut zstd = command::new("zstd");
    zstd.args(["-q", "-c", "--single-thread", "--no-check", "--no-progress"])
        .arg(format!("-{level}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = zstd.spawn().context("cannot run zstd")?;
    let mut input = child.stdin.take().context("zstd has no input")?;
    let packed = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(content));
        child.wait_with_output()
    })?;
    if !packed.status.success() {
        bail!("zstd failed: {}", packed.status);
    }
    Ok(packed.stdout)
}
