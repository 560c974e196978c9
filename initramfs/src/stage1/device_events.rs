//! Uevents while stage1 runs: new devices get their modules, and whoever waits for a device is
//! woken.
//!
//! The socket is opened before the first look at `/sys`, so a device is either seen by the look or
//! announced. Not here: which device somebody waits for.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use kernel::epoll::{Events, Poller, Readiness};
use kernel::uevent::{MAX, Uevent, UeventSocket};
use mounts::cmdline::Cmdline;
use mounts::uevent;

use super::modules::Modules;
use super::report::Report;
use super::watchdog;

/// The uevent socket with the modules that devices ask for.
pub(crate) struct DeviceEvents {
    socket: UeventSocket,
    poller: Poller,
    modules: Modules,
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

    /// Works off the events that have come; whether one of them was about a disk or partition. When
    /// the kernel had to drop events, everything is looked at again.
    pub(crate) fn work_off(&mut self, report: &mut Report) -> bool {
        let mut block_device = false;
        let mut buffer = [0; MAX];
        loop {
            match self.socket.receive(&mut buffer) {
                Ok(None) => return block_device,
                Ok(Some(Uevent::Message(length))) => {
                    block_device |= self.one(buffer.get(..length).unwrap_or_default(), report);
                }
                Ok(Some(Uevent::Lost)) => {
                    report.step("events: some were lost; looking at all devices again");
                    self.coldplug(report);
                    block_device = true;
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
        mut found: impl FnMut(&mut Report) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut ready = Events::new();
        self.work_off(report);
        loop {
            if let Some(found) = found(report) {
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

    fn one(&mut self, datagram: &[u8], report: &mut Report) -> bool {
        let event = match uevent::parse(datagram) {
            Ok(event) => event,
            Err(error) => {
                report.step(&format!("events: {error}"));
                return false;
            }
        };
        if event.action == uevent::Action::Add
            && let Some(alias) = event.properties.modalias()
        {
            self.modules.load_alias(alias, report);
        }
        event.properties.subsystem() == Some("block")
    }
}

/// Readable when events have come: for those who wait for other things as well.
impl AsFd for DeviceEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
