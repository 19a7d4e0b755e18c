//! What the commands say of a cluster.

use tempfile::TempDir;

use crate::support::postgres::Database;
use crate::support::process::{Ended, Process, safecache, write_config};

fn run(yaml: &str, args: &[&str]) -> Ended {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), yaml);
    Process::start(safecache(folder.path()).args(args)).wait()
}

#[track_caller]
fn check(cluster: &str, expected: &[&str]) {
    let ended = run(&format!("cluster: {cluster}\n"), &["check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Vec<&str> = ended.stdout.lines().skip(1).collect();
    assert_eq!(told, expected, "{ended:?}");
    assert!(!ended.stdout.contains("hunter2"), "{ended:?}");
}

#[test]
fn check_says_what_holds_for_all_gateways() {
    check(
        "{postgres: 'postgres://app:hunter2@db/safecache', redis: 'redis://:hunter2@cache', replicas: 3}",
        &[
            "at least 3 gateways, PostgreSQL at db:5432/safecache, Redis at cache:6379/0:",
            "  keys      of the list and of PostgreSQL; a change there is in force everywhere within 2 s",
            "  limits    hold for all gateways together; while Redis is away each keeps to its part of each limit",
            "  answers   shared over Redis, a purge holds everywhere within 1 s; cache.disk is not used",
            "  stored    what clients store is there for all gateways",
            "  usage     summed over all gateways",
        ],
    );
    check(
        "{postgres: 'postgres://db/safecache', replicas: 1}",
        &[
            "at least 1 gateway, PostgreSQL at db:5432/safecache:",
            "  keys      of the list and of PostgreSQL; a change there is in force everywhere within 2 s",
            "  limits    each gateway keeps to its part of each limit: the limit by the number of gateways",
            "  answers   shared in PostgreSQL within cache.disk, a purge holds everywhere within 2 s",
            "  stored    what clients store is there for all gateways",
            "  usage     summed over all gateways",
        ],
    );
    check(
        "{redis: 'rediss://cache/7', replicas: 2, without_redis: open}",
        &[
            "at least 2 gateways, Redis at cache:6379/7:",
            "  keys      of the list alone; making keys, accounts or people is refused, as PostgreSQL would have to keep \
             them",
            "  limits    hold for all gateways together; while Redis is away NOTHING IS LIMITED (without_redis: open)",
            "  answers   shared over Redis, a purge holds everywhere within 1 s; cache.disk is not used",
            "  stored    what clients store is of each gateway apart",
            "  usage     of each gateway apart, and so are its reports",
        ],
    );
}

#[test]
fn what_lasts_in_postgresql_is_not_backed_up_here() {
    for args in [["backup", "file"], ["restore", "file"]] {
        let ended = run("cluster: {postgres: 'postgres://app:hunter2@db/safecache', replicas: 3}\n", &args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(
            ended.stderr,
            "what lasts is in PostgreSQL at db:5432/safecache: back it up and restore it with pg_dump and pg_restore\n"
        );
    }
}

#[test]
fn keys_are_made_where_gateways_look_for_them() {
    let database = Database::fresh();
    let folder = TempDir::new().unwrap();
    let engines = format!("cluster: {{postgres: '{}', replicas: 2}}\n", database.address().expose());
    write_config(folder.path(), &engines);
    let made = Process::run(folder.path(), &["keys", "create", "--account", "acme", "--json"], "");
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(!folder.path().join("data/accounts.sqlite").exists(), "not in the folder");
    let listed = Process::run(folder.path(), &["keys", "list"], "");
    assert!(listed.stdout.contains("acme"), "{listed:?}");
    let alone =
        run("cluster: {redis: 'redis://cache', replicas: 2}\n", &["keys", "create", "--account", "acme"]);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(alone.stderr.contains("keys come from the list"), "{alone:?}");
}
