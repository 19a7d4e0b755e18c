//! The configuration: what is accepted, what is refused, and how it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::{ProptestConfig, proptest};
use safecache::config::problem::Report;
use safecache::config::restart::needs_restart;
use safecache::config::{self, Config};
use safecache::limits::link::WhenDown;
use safecache::limits::plan::Per;
use safecache::units::ByteSize;
use safecache::upstream::settings::Concurrency;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the bad files find in their environment.
fn environment() -> BTreeMap<String, String> {
    [("TEXT", "text"), ("SECRET", "hunter2"), ("EMPTY", ""), ("EIGHT", "8"), ("YES", "true"), ("RATE", "0.5")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn parse(text: &str) -> Result<Config, Report> {
    config::parse(text, "gateway.yaml", &environment(), &root().join("tests/data/config/bad"))
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|report| panic!("refused:\n{report}"))
}

#[track_caller]
fn problems(text: &str) -> String {
    parse(text).expect_err("accepted").to_string()
}

const ROUTED: &str =
    "upstreams: {llm: {servers: [http://127.0.0.1:8000]}}\nroutes: [{path: /v1/*, upstream: llm}]\n";

/// Every mistake, and the whole report on it. `UPDATE_EXPECT=1` writes the reports anew.
#[test]
fn each_mistake_is_reported_where_it_stands() {
    let folder = root().join("tests/data/config/bad");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(40 <= files.len(), "only {} mistakes", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let report = config::parse(&text, name, &environment(), &folder).err();
        let unhinted = report
            .iter()
            .flat_map(Report::problems)
            .find(|problem| problem.hint.is_empty() || problem.line == 0 || problem.column == 0);
        assert!(unhinted.is_none(), "{name} leaves the reader alone:\n{unhinted:?}");
        let report = report.map(|report| report.to_string());
        let report = report.unwrap_or_else(|| "accepted\n".to_owned());
        assert!(
            !report.contains("hunter2") && !report.contains("password@"),
            "{name} shows a secret:\n{report}"
        );
        let expected_at = file.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expected_at, &report).unwrap();
        } else if std::fs::read_to_string(&expected_at).unwrap_or_default() != report {
            wrong.push(format!("{name}:\n{report}"));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_text() {
    let report = parse(
        "threads: -1\nadmin: {token: short}\nplans: {free: {burst: 0}}\nnope: 1\nroutes: [{path: x, upstream: y}]\n",
    )
    .unwrap_err();
    let lines: Vec<u32> = report.problems().iter().map(|problem| problem.line).collect();
    assert_eq!(vec![1, 2, 3, 4, 5, 5], lines, "{report}");
}

#[test]
fn names_are_resolved_and_plans_completed() {
    let config = good(
        "plans: {free: {burst: 7}, gold: {requests_per_minute: 5, burst: 6, per: account}}\n\
         upstreams:\n  b: {servers: [{url: 'https://b:444/base/', weight: 3}]}\n  a: {servers: ['http://[::1]/']}\n\
         routes: [{path: /x/*, upstream: b, strip_prefix: /x}, {path: /*, upstream: a}]\n",
    );
    let plans: Vec<_> = config
        .plans
        .iter()
        .map(|p| (p.name().as_str(), p.requests_per_minute().get(), p.burst().get(), p.per()))
        .collect();
    assert_eq!(
        vec![
            ("enterprise", 6000, 10000, Per::Key),
            ("free", 60, 7, Per::Key),
            ("gold", 5, 6, Per::Account),
            ("pro", 600, 1000, Per::Key),
        ],
        plans
    );
    let (_, route) = config.routes.find("/x/y").unwrap();
    let upstream = &config.upstreams[route.upstream];
    assert_eq!("b", upstream.name.as_str());
    let server = &upstream.servers[0];
    assert_eq!(
        ("b", 444, "/base", "b:444", 3),
        (&*server.host, server.port, &*server.base_path, &*server.authority, server.weight.get())
    );
    let (_, route) = config.routes.find("/other").unwrap();
    let server = &config.upstreams[route.upstream].servers[0];
    assert_eq!(
        ("::1", 80, "", "[::1]"),
        (&*server.host, server.port, &*server.base_path, &*server.authority)
    );
}

#[test]
fn values_mean_what_they_say() {
    let config = good(
        "listen: ['[::1]:0', {address: '127.0.0.1:0'}]\ntrusted_proxies: ['::ffff:10.1.2.3/104', 10.1.2.3/8, 'fd00::1']\n\
         upstreams: {a: {servers: [http://a], max_concurrent: 2, queue: {length: 3, wait: 250ms}, authorization: bearer}}\n\
         limits: {auth_failures: off, min_send_rate: 0}\nshutdown: {delay: 1m}\ncache: {memory: 1MiB}\n",
    );
    assert_eq!(2, config.listen.len());
    let proxies: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(vec!["10.0.0.0/8", "10.0.0.0/8", "fd00::1/128"], proxies);
    let upstream = &config.upstreams[0];
    assert!(upstream.authorization.is_none());
    let Concurrency::Bounded { max, queue, wait } = upstream.concurrency else { panic!("unbounded") };
    assert_eq!((2, 3, Duration::from_millis(250)), (max.get(), queue, wait));
    assert_eq!(None, config.limits.auth_failures);
    assert_eq!(ByteSize::default(), config.limits.min_send_rate);
    assert_eq!(Duration::from_secs(60), config.shutdown.delay);
    assert_eq!(
        ByteSize::mib(1),
        config.cache.max_entry,
        "the default entry fits into the memory that was written"
    );
}

#[test]
fn variables_are_replaced_after_parsing() {
    let env = [("KEY", "a: [b\n"), ("TOKEN", "0123456789abcdef"), ("N", "8"), ("OFF", "off")];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let folder = root().join("tests/data/config");
    let config = config::parse(
        "admin: {token: '${TOKEN}'}\nthreads: ${N}\ndata_dir: /x/${KEY}$y$$\nlimits: {auth_failures: '${N}'}\n\
         upstreams: {a: {servers: ['${URL:-http://a}'], authorization: 'Bearer ${file:secret.txt}'}}\n",
        "gateway.yaml",
        &env,
        &folder,
    )
    .unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(Path::new("/x/a: [b\n$y$$"), config.data_dir);
    assert_eq!(8, config.threads);
    assert_eq!(Some(8), config.limits.auth_failures.map(Into::into));
    assert_eq!(config.admin.token.unwrap().expose(), "0123456789abcdef");
    let authorization = config.upstreams[0].authorization.as_ref().unwrap();
    assert_eq!("Bearer from-a-file", authorization.to_str().unwrap());
    assert!(authorization.is_sensitive());
}

#[test]
fn a_variable_reads_as_the_type_that_its_key_wants() {
    let text = format!("{ROUTED}    ");
    let config = good(&text.replace(
        "upstream: llm}",
        "upstream: llm, cache: {finish_on_disconnect: '${YES}', max_temperature: '${RATE}'}}",
    ));
    let policy = config.routes.iter().next().unwrap().cache.clone().unwrap();
    assert!((policy.max_temperature - 0.5).abs() < f64::EPSILON);
    assert_eq!(safecache::cache::policy::OnDisconnect::Finish, policy.on_disconnect);
    assert!(problems("threads: '8'\n").contains("expected a whole number"));
}

#[test]
fn certificates_are_read_and_must_fit_their_keys() {
    let folder = std::env::temp_dir().join(format!("safecache-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let text = |key: &str| {
        format!(
            "listen: {{address: 127.0.0.1:0, tls: {{cert: a.crt, key: {key}}}}}\n\
             upstreams: {{a: {{servers: [https://a], tls: {{ca: b.crt, cert: a.crt, key: a.key, server_name: b.c}}}}}}\n"
        )
    };
    let read = |key: &str| config::parse(&text(key), "gateway.yaml", &BTreeMap::new(), &folder);
    let config = read("a.key").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(folder.join("a.crt"), config.listen[0].tls.as_ref().unwrap().cert);
    assert_eq!(folder.join("b.crt"), config.upstreams[0].tls.ca.as_ref().unwrap().path);
    let report = read("b.key").unwrap_err().to_string();
    assert!(report.contains("listen.tls.key: `b.key` does not belong to the certificate"), "{report}");
    let long = "no-such-file-but-a-name-of-more-than-thirty-two-characters.key";
    let report = read(long).unwrap_err().to_string();
    assert!(report.contains(&format!("`{long}` cannot be read: No such file")), "{report}");
    let identity = format!("{:?}", config.listen[0].tls.as_ref().unwrap());
    assert!(identity.contains("KeyPair(…)") && !identity.contains('['), "{identity}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let old = good("listen: 127.0.0.1:1\n");
    let same = good(
        "listen: 127.0.0.1:1\nplans: {free: {burst: 5}}\nlimits: {max_requests: 5}\ncache: {max_entry: 1KiB}\n",
    );
    assert!(needs_restart(&old, &same).is_empty());
    let new = good(
        "listen: 127.0.0.1:2\nadmin: {listen: '127.0.0.1:3'}\ndata_dir: other\nthreads: 2\ncache: {memory: 1GiB}\n\
         cluster: {redis: 'redis://h', replicas: 2}\n",
    );
    assert_eq!(
        vec!["listen", "admin.listen", "data_dir", "threads", "cache.memory", "cluster"],
        needs_restart(&old, &new)
    );
}

#[test]
fn what_gateways_share_is_named_without_a_secret() {
    let config = good(
        "cluster: {postgres: 'postgresql://app:hunter2@db.example:5433/safecache?sslmode=verify-full', \
         redis: 'rediss://:hunter2@[::1]', replicas: 3}\n",
    );
    let cluster = config.cluster.unwrap();
    let labels = [&cluster.postgres, &cluster.redis].map(|url| url.as_ref().unwrap().label());
    assert_eq!(labels, ["PostgreSQL at db.example:5433/safecache", "Redis at [::1]:6379/0"]);
    assert_eq!((cluster.replicas.get(), cluster.without_redis), (3, WhenDown::Share));
    assert!(!format!("{cluster:?}").contains("hunter2"), "{cluster:?}");
    assert_eq!(good("threads: 1\n").cluster, None);
}

#[test]
fn aliases_are_followed_within_bounds() {
    let config = good("plans:\n  a: &a {requests_per_minute: 5, burst: 6}\n  b: *a\n");
    assert_eq!(5, config.plans.len());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let repeated = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb += &format!("a{i}: &a{i} [{repeated}]\n");
    }
    assert!(problems(&bomb).contains("more than 1000000 values"), "{}", problems(&bomb));
    let mut tower = "a0: &a0 [x]\n".to_owned();
    for i in 1..100 {
        tower += &format!("a{i}: &a{i} [*a{}]\n", i - 1);
    }
    assert!(problems(&tower).contains("nested deeper than 64"), "{}", problems(&tower));
}

#[test]
fn a_missing_key_list_is_a_problem_of_check_and_not_of_load() {
    let folder = std::env::temp_dir().join(format!("safecache-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("gateway.yaml");
    std::fs::write(&file, "keys_file: none.yaml\nthreads: -1\n").unwrap();
    let report = config::check(&file, &BTreeMap::new()).unwrap_err();
    assert_eq!(2, report.problems().len(), "{report}");
    assert!(report.to_string().contains("none.yaml: the key list cannot be read"), "{report}");
    std::fs::write(&file, "keys_file: none.yaml\n").unwrap();
    assert!(config::load(&file, &BTreeMap::new()).is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|([a-z]{1,9}: ?[-\\[\\]{}&*!|>'\"%@`#,?:a-z0-9 ${}]*\n( *- ?)*){0,9}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_value_of_any_key_is_read_or_refused(
        key in proptest::sample::select(vec!["listen", "admin", "plans", "keys", "upstreams", "routes", "cache", "limits"]),
        value in "[\\[\\]{},:a-z0-9 /.*$]{0,40}",
    ) {
        let _ = parse(&format!("{key}: {value}\n"));
    }
}
