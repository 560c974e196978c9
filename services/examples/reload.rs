use services::file::{Source, load};
use services::id::ServiceName;
use services::journal::Writer;
use services::supervisor::Supervisor;
use services::supervisor::compiled::Compiled;
use services::supervisor::event::{Action, Event, RequestId};
use services::time::Time;
#[inline(never)]
fn a_from_bytes(b: Vec<u8>) -> Compiled {
    Compiled::from_bytes(b).unwrap()
}
#[inline(never)]
fn b_compare(s: &Supervisor, g: &Compiled) -> usize {
    s.differences(g).changed.len()
}
#[inline(never)]
fn c_replace(s: &mut Supervisor, g: Compiled) {
    s.handle_event(
        Event::Replace {
            request: RequestId(1),
            graph: Box::new(g),
        },
        Time::from_nanos(5),
    );
}
#[inline(never)]
fn d_freeze(s: &mut Supervisor, w: &mut Writer, r: &mut [u8]) {
    s.freeze_changes(w, r).unwrap();
    w.commit(r).unwrap()
}
#[inline(never)]
fn e_new(g: Compiled) -> Supervisor {
    Supervisor::new(g)
}
#[inline(never)]
fn f_boot(s: &mut Supervisor) {
    s.handle_event(
        Event::Boot {
            target: ServiceName::new("default").unwrap(),
        },
        Time::from_nanos(1),
    );
}
#[inline(never)]
fn g_start(s: &mut Supervisor, w: &mut Writer, r: &mut [u8]) {
    while let Some(a) = s.poll_action() {
        if let Action::Spawn { run } = a {
            s.definition(run.service);
            s.handle_event(Event::Spawned { run }, Time::from_nanos(2));
        }
        d_freeze(s, w, r);
    }
}
fn main() {
    let n = 500;
    let mut sources = vec![Source {
        path: "/usr/lib/shark/services/default.toml".into(),
        layer: 0,
        text: "type = \"target\"\n".into(),
    }];
    for i in 0..n {
        let r = if i >= n / 5 {
            format!("requires = [\"s{}\"]\n", i - n / 5)
        } else {
            String::new()
        };
        sources.push(Source { path: format!("/usr/lib/shark/services/s{i}.toml"), layer: 0, text: format!("exec = \"/bench/service {i}\"\n{r}restart.policy = \"always\"\nrestart.delay = \"0s\"\nrestart.reset-after = \"50ms\"\n") });
    }
    let graph = load(&sources, None).graph.unwrap();
    let bytes = Compiled::from(&graph).into_bytes();
    eprintln!("{} bytes", bytes.len());
    let mut room = vec![0u8; 16 << 20];
    let mut w = Writer::begin(&mut room, 1).unwrap();
    let g = a_from_bytes(bytes.clone());
    let mut s = e_new(g);
    d_freeze(&mut s, &mut w, &mut room);
    f_boot(&mut s);
    g_start(&mut s, &mut w, &mut room);
    let g = a_from_bytes(bytes);
    println!("{}", b_compare(&s, &g));
    c_replace(&mut s, g);
    while s.poll_action().is_some() {}
    d_freeze(&mut s, &mut w, &mut room);
    println!("used {}", w.used());
}
