//! Uevents while stage1 runs: new devices get their modules, and whoever waits for a device is
//! woken.
//!
//! The socket is opened before the first look at `/sys`, so a device is either seen by the look or
//! announced. Not here: which device somebody waits for.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use kernel::epoll::{Events, Poller, Readiness};
use kernel::uevent::{MAX, Uevent, UeventSocket};
use mounts::cmdline::Cmdline;
use mounts::uevent;

use super::modules::Modules;
use super::report::Report;
use super::watchdog;

/// The most disks that events are kept of.
const NEWS_MAX: usize = 256;

/// What events told of disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    disks: BTreeSet<String>,
    /// Events were lost, so each disk may have news.
    of_all: bool,
}

impl News {
    /// Whether there was an event of this disk (`vda`) or of one of its partitions.
    pub(crate) fn is_about(&self, disk: &str) -> bool {
        self.of_all || self.disks.contains(disk)
    }

    /// No event told of any.
    pub(crate) fn is_empty(&self) -> bool {
        self.disks.is_empty() && !self.of_all
    }

    fn add(&mut self, disk: &str) {
        if self.disks.len() < NEWS_MAX {
            self.disks.insert(disk.to_owned());
        } else {
            self.of_all = true;
        }
    }
}

/// The disk that a block event tells of: its own, or that of the partition.
fn disk_of(event: &uevent::Uevent) -> Option<&str> {
    let mut names = event.devpath.rsplit('/');
    if event.properties.devtype() == Some("partition") {
        names.next();
    }
    names.next().filter(|name| !name.is_empty())
}

/// The uevent socket with the modules that devices ask for.
pub(crate) struct DeviceEvents {
    socket: UeventSocket,
    poller: Poller,
    modules: Modules,
    /// Since somebody asked.
    news: News,
}

impl DeviceEvents {
    /// Opens the socket, then the modules: loading one makes devices, and their events must not be
    /// lost.
    pub(crate) fn open(cmdline: &Cmdline, report: &mut Report) -> Result<Self, kernel::Error> {
        let socket = UeventSocket::open()?;
        let poller = Poller::new()?;
        poller.add(&socket, 0, Readiness::READ)?;
        let modules = Modules::open(cmdline, report);
        Ok(Self {
            socket,
            poller,
            modules,
            news: News::default(),
        })
    }

    /// Loads modules by name.
    pub(crate) fn load(&mut self, names: &[&str], report: &mut Report) {
        self.modules.load(names, report);
    }

    /// Loads one module with these parameters, unless the command line has others for it.
    pub(crate) fn load_with(
        &mut self,
        name: &str,
        parameters: &[(&str, &str)],
        report: &mut Report,
    ) {
        self.modules.default_parameters(name, parameters);
        self.modules.load(&[name], report);
    }

    /// Loads the modules for all devices that are there now.
    pub(crate) fn coldplug(&mut self, report: &mut Report) {
        match kernel::uevent::modaliases() {
            Ok(aliases) => aliases
                .iter()
                .for_each(|alias| self.modules.load_alias(alias, report)),
            Err(error) => report.warn(format!("modules: {error}")),
        }
    }

    /// What events have told of disks since the last call.
    pub(crate) fn news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Works off the events that have come; whether there is news of a disk. When the kernel had to
    /// drop events, everything is looked at again.
    pub(crate) fn work_off(&mut self, report: &mut Report) -> bool {
        let mut buffer = [0; MAX];
        loop {
            match self.socket.receive(&mut buffer) {
                Ok(None) => return !self.news.is_empty(),
                Ok(Some(Uevent::Message(length))) => {
                    self.one(buffer.get(..length).unwrap_or_default(), report);
                }
                Ok(Some(Uevent::Lost)) => {
                    report.step("events: some were lost; looking at all devices again");
                    self.coldplug(report);
                    self.news.of_all = true;
                }
                Err(error) => {
                    report.warn(format!("events: {error}"));
                    return true;
                }
            }
        }
    }

    /// Waits until `found` finds something or `patience` is over. `found` looks once at the start,
    /// and again after each event about a disk or partition. The watchdog is fed meanwhile.
    pub(crate) fn wait_for<T>(
        &mut self,
        patience: Duration,
        report: &mut Report,
        mut found: impl FnMut(&News, &mut Report) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut ready = Events::new();
        self.work_off(report);
        loop {
            let news = self.news();
            if let Some(found) = found(&news, report) {
                return Some(found);
            }
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                watchdog::feed();
                let wait = left.min(watchdog::interval());
                if let Err(error) = self.poller.wait(&mut ready, Some(wait)) {
                    report.step(&format!("events: {error}"));
                    return None;
                }
                if self.work_off(report) {
                    break;
                }
            }
        }
    }

    fn one(&mut self, datagram: &[u8], report: &mut Report) {
        let event = match uevent::parse(datagram) {
            Ok(event) => event,
            Err(error) => {
                report.step(&format!("events: {error}"));
                return;
            }
        };
        if event.action == uevent::Action::Add
            && let Some(alias) = event.properties.modalias()
        {
            self.modules.load_alias(alias, report);
        }
        if event.properties.subsystem() == Some("block")
            && let Some(disk) = disk_of(&event)
        {
            self.news.add(disk);
        }
    }
}

/// Readable when events have come: for those who wait for other things as well.
impl AsFd for DeviceEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

#[cfg(test)]
impl News {
    /// Of this disk.
    pub(crate) fn about(disk: &str) -> Self {
        let mut news = Self::default();
        news.add(disk);
        news
    }

    /// Of every disk.
    pub(crate) fn everything() -> Self {
        Self {
            of_all: true,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_partition_is_news_of_its_disk() {
        let check = |devpath: &str, devtype: &str, expect: &str| {
            let text = format!("add@{devpath}\0ACTION=add\0SUBSYSTEM=block\0DEVTYPE={devtype}\0");
            let event = uevent::parse(text.as_bytes()).unwrap();
            assert_eq!(disk_of(&event), Some(expect));
        };
        check("/devices/pci0/virtio0/block/vda", "disk", "vda");
        check("/devices/pci0/virtio0/block/vda/vda2", "partition", "vda");
        check("/devices/pci0/nvme/nvme0/nvme0n1", "disk", "nvme0n1");
        let part = "/devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p1";
        check(part, "partition", "nvme0n1");
    }

    #[test]
    fn too_much_news_is_of_everything() {
        let mut news = News::about("vda");
        assert!(news.is_about("vda") && !news.is_about("vdb"));
        for number in 0..=NEWS_MAX {
            news.add(&format!("disk{number}"));
        }
        assert!(news.disks.len() <= NEWS_MAX && news.is_about("vdb"));
        assert!(News::default().is_empty() && !news.is_empty());
    }
}
