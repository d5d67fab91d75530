//! How the database itself is set up, and what of that hurts.
//!
//! What is read here is known to one backend only, so these are no statements of `statements!`;
//! nothing but the doctor and a line in the log depends on them.

use crate::database::{MYSQL_READERS_MAX, MYSQL_WRITERS_MAX, POSTGRES_CONNECTIONS_MAX};
use crate::database::{Pools, Store};
use crate::dialect::Flavour;
use crate::errors::StoreError;
use sqlx::mysql::{MySqlPool, MySqlRow};
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Executor as _, Row as _};
use std::collections::BTreeMap;
use std::path::Path;

/// How much a setting matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// It works, but slower or less often than it could.
    Doubtful,
    /// What was answered can be lost, or something does not work at all.
    Harmful,
}

/// One thing the database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub value: String,
    pub verdict: Verdict,
    /// What it leads to and what to do; empty where it is good.
    pub advice: &'static str,
}

/// What the database answers by the names of its settings.
type Facts = BTreeMap<String, String>;

/// Which values hurt.
enum Hurts {
    Never,
    If(&'static [&'static str]),
    Unless(&'static str),
    /// A list that lacks one of these words.
    Without(&'static [&'static str]),
    Below(u32),
    Between(u32, u32),
}

/// The first rule of a name that hurts is told.
struct Rule {
    name: &'static str,
    hurts: Hurts,
    verdict: Verdict,
    advice: &'static str,
}

const fn harmful(name: &'static str, hurts: Hurts, advice: &'static str) -> Rule {
    Rule { name, hurts, verdict: Verdict::Harmful, advice }
}

const fn doubtful(name: &'static str, hurts: Hurts, advice: &'static str) -> Rule {
    Rule { name, hurts, verdict: Verdict::Doubtful, advice }
}

const fn told(name: &'static str) -> Rule {
    Rule { name, hurts: Hurts::Never, verdict: Verdict::Good, advice: "" }
}

/// Our own name for how many connections we may have.
const CONNECTIONS: &str = "connections";
const FEW_CONNECTIONS: &str =
    "one instance uses more at its busiest: raise max_connections, or the limit of our user";
const TIME_OUT: &str = "migrations and long lists may need more: give our user 0 or some minutes";

const POSTGRES: &[Rule] = &[
    doubtful("server_version_num", Hurts::Below(150_000), "nobody tests us below 15: upgrade"),
    harmful("fsync", Hurts::Unless("on"), "a power cut can destroy everything: set it to on"),
    harmful(
        "full_page_writes",
        Hurts::Unless("on"),
        "a power cut can destroy pages: set it to on, unless the disk writes whole pages",
    ),
    harmful(
        "synchronous_commit",
        Hurts::If(&["off"]),
        "a crash loses what was answered already: set it to on, for our user at least",
    ),
    harmful("in_recovery", Hurts::Unless("no"), "it is a standby: name the primary in the address"),
    harmful(
        "default_transaction_read_only",
        Hurts::Unless("off"),
        "nothing can be written: set it to off",
    ),
    harmful("server_encoding", Hurts::Unless("UTF8"), "make the database anew with ENCODING UTF8"),
    doubtful(
        "default_transaction_isolation",
        Hurts::Unless("read committed"),
        "our locks are made for read committed: others only add failures that have to be repeated",
    ),
    doubtful("statement_timeout", Hurts::Between(1, 29_999), TIME_OUT),
    doubtful("transaction_timeout", Hurts::Between(1, 29_999), TIME_OUT),
    doubtful(
        "lock_timeout",
        Hurts::Between(1, 4_999),
        "whoever waits for a busy account is sent away early: give our user 0 or some seconds",
    ),
    doubtful(
        "idle_in_transaction_session_timeout",
        Hurts::Between(1, 9_999),
        "a slow moment of ours costs the transaction: give our user 0 or some ten seconds",
    ),
    doubtful(CONNECTIONS, Hurts::Below(POSTGRES_CONNECTIONS_MAX), FEW_CONNECTIONS),
    told("pgvector"),
];

const MYSQL: &[Rule] = &[
    harmful(
        "mysql_version",
        Hurts::Below(80_017),
        "constraints, row locks and the collation need 8.0.17: upgrade",
    ),
    harmful("mariadb_version", Hurts::Below(100_600), "row locks need 10.6: upgrade to 10.11"),
    doubtful("mariadb_version", Hurts::Below(101_100), "nobody tests us below 10.11: upgrade"),
    harmful(
        "innodb_flush_log_at_trx_commit",
        Hurts::If(&["0", "2"]),
        "a crash loses what was answered already: set it to 1",
    ),
    harmful(
        "sync_binlog",
        Hurts::Unless("1"),
        "a crash loses what the binary log had not written yet: set it to 1",
    ),
    harmful(
        "innodb_doublewrite",
        Hurts::If(&["OFF", "0", "DETECT_ONLY"]),
        "a power cut can destroy pages: set it to ON, unless the disk writes whole pages",
    ),
    harmful(
        "innodb_flush_method",
        Hurts::If(&["nosync", "littlesync"]),
        "a power cut can destroy everything: set it to fsync or O_DIRECT",
    ),
    harmful(
        "read_only",
        Hurts::If(&["ON", "1"]),
        "it is a replica: name the leader in the address",
    ),
    harmful(
        "sql_mode",
        Hurts::Without(&["STRICT_ALL_TABLES", "ANSI_QUOTES", "PIPES_AS_CONCAT"]),
        "something on the way forgets what a session sets: connect to the server itself",
    ),
    harmful(
        "isolation",
        Hurts::Unless("READ-COMMITTED"),
        "something on the way forgets what a session sets: connect to the server itself",
    ),
    harmful(
        "max_allowed_packet",
        Hurts::Below(8 * 1024 * 1024),
        "the largest documents do not fit: set it to 16M or more",
    ),
    doubtful(
        "wait_timeout",
        Hurts::Between(1, 59),
        "connections that rest are cut off and made anew: set it to some minutes",
    ),
    doubtful(CONNECTIONS, Hurts::Below(MYSQL_WRITERS_MAX + MYSQL_READERS_MAX), FEW_CONNECTIONS),
];

const SQLITE: &[Rule] = &[
    harmful(
        "journal_mode",
        Hurts::Unless("wal"),
        "readers and the writer stop one another: put the file on a local disk",
    ),
    harmful("synchronous", Hurts::If(&["0", "1"]), "a power cut loses what was answered already"),
    harmful("foreign_keys", Hurts::Unless("1"), "rows can refer to what is not there"),
    harmful(
        "file_system",
        Hurts::If(&["none"]),
        "it is in memory: everything is lost when the process ends",
    ),
    harmful(
        "file_system",
        Hurts::If(&NETWORKS),
        "locks over a network cannot be relied on: put the file on a local disk, or use a server",
    ),
    doubtful(
        "file_system",
        Hurts::If(&["tmpfs", "ramfs"]),
        "it is in memory: everything is lost when the machine restarts",
    ),
    doubtful(
        "file_system",
        Hurts::If(&["overlay", "aufs"]),
        "it is in the container's own layer and goes away with it: mount a volume",
    ),
    told("fts5"),
];

/// File systems of other machines, as Linux names them.
const NETWORKS: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.rclone",
];

impl Hurts {
    fn meets(&self, value: &str) -> bool {
        let number = || value.parse::<i64>().ok();
        match self {
            Hurts::Never => false,
            Hurts::If(values) => values.iter().any(|one| one.eq_ignore_ascii_case(value)),
            Hurts::Unless(wanted) => !wanted.eq_ignore_ascii_case(value),
            Hurts::Without(words) => {
                words.iter().any(|word| !value.split(',').any(|one| one == *word))
            }
            Hurts::Below(least) => number().is_some_and(|it| it < i64::from(*least)),
            Hurts::Between(least, most) => {
                number().is_some_and(|it| i64::from(*least) <= it && it <= i64::from(*most))
            }
        }
    }
}

/// One finding for each name that the database knows, in the rules' order.
fn judge(rules: &'static [Rule], facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for rule in rules {
        let Some(value) = facts.get(rule.name) else { continue };
        let hurts = rule.hurts.meets(value);
        let (verdict, advice) = match hurts {
            true => (rule.verdict, rule.advice),
            false => (Verdict::Good, ""),
        };
        let finding = Finding { name: rule.name, value: value.clone(), verdict, advice };
        match findings.iter_mut().find(|known| known.name == rule.name) {
            Some(known) if hurts && known.verdict == Verdict::Good => *known = finding,
            Some(_) => {}
            None => findings.push(finding),
        }
    }
    findings
}

fn failed(source: sqlx::Error) -> StoreError {
    StoreError::Database { name: "settings", source }
}

impl Store {
    /// What the database says of itself, good and bad.
    pub async fn settings(&self) -> Result<Vec<Finding>, StoreError> {
        let (rules, facts) = match &self.pools {
            Pools::Sqlite { write, .. } => (SQLITE, sqlite_facts(write).await),
            Pools::Postgres(pool) => (POSTGRES, postgres_facts(pool).await),
            Pools::Mysql { write, flavour, .. } => (MYSQL, mysql_facts(write, *flavour).await),
        };
        Ok(judge(rules, &facts.map_err(failed)?))
    }
}

async fn postgres_facts(pool: &PgPool) -> Result<Facts, sqlx::Error> {
    // As our sessions see them: a role or a database may have its own.
    const TEXT: &str = "SELECT name, setting FROM pg_settings
        UNION ALL SELECT 'in_recovery', CASE WHEN pg_is_in_recovery() THEN 'yes' ELSE 'no' END
        UNION ALL SELECT 'pgvector', COALESCE(
            (SELECT extversion || ' installed' FROM pg_extension WHERE extname = 'vector'),
            (SELECT default_version || ' available' FROM pg_available_extensions
             WHERE name = 'vector'),
            'absent')
        UNION ALL SELECT 'role_connections', CAST(rolconnlimit AS TEXT) FROM pg_roles
            WHERE rolname = current_user
        UNION ALL SELECT 'database_connections', CAST(datconnlimit AS TEXT) FROM pg_database
            WHERE datname = current_database()";
    let rows: Vec<(String, String)> = sqlx::query_as(TEXT).fetch_all(pool).await?;
    let mut facts: Facts = rows.into_iter().collect();
    let number = |name: &str| facts.get(name).and_then(|text| text.parse::<i64>().ok());
    let reserved = ["superuser_reserved_connections", "reserved_connections"];
    let reserved: i64 = reserved.iter().filter_map(|name| number(name)).sum();
    let limits = [
        number("max_connections").map(|most| most - reserved),
        number("role_connections").filter(|limit| 0 <= *limit),
        number("database_connections").filter(|limit| 0 <= *limit),
    ];
    if let Some(least) = limits.into_iter().flatten().min() {
        facts.insert(CONNECTIONS.to_owned(), least.to_string());
    }
    Ok(facts)
}

async fn mysql_facts(pool: &MySqlPool, flavour: Flavour) -> Result<Facts, sqlx::Error> {
    let rows = pool.fetch_all("SHOW SESSION VARIABLES").await?;
    let text = |row: &MySqlRow, at: usize| -> Result<String, sqlx::Error> {
        // Some versions call these columns binary.
        let bytes: Vec<u8> = row.try_get_unchecked(at)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut facts = Facts::new();
    for row in &rows {
        facts.insert(text(row, 0)?, text(row, 1)?);
    }
    let version = facts.get("version").map(|text| version_number(text));
    let known_as = match flavour {
        Flavour::Mysql => "mysql_version",
        Flavour::Mariadb => "mariadb_version",
    };
    facts.extend(version.map(|number| (known_as.to_owned(), number.to_string())));
    let isolation = ["transaction_isolation", "tx_isolation"];
    let isolation = isolation.iter().find_map(|name| facts.get(*name)).cloned();
    facts.extend(isolation.map(|level| ("isolation".to_owned(), level)));
    if facts.get("log_bin").is_some_and(|is_on| is_on == "OFF") {
        facts.remove("sync_binlog");
    }
    let limits = ["max_connections", "max_user_connections"].iter();
    let limits = limits.filter_map(|name| facts.get(*name)?.parse::<i64>().ok());
    if let Some(least) = limits.filter(|limit| 0 < *limit).min() {
        facts.insert(CONNECTIONS.to_owned(), least.to_string());
    }
    Ok(facts)
}

/// `10.11.6-MariaDB` as 101106.
fn version_number(text: &str) -> u32 {
    let parts = text.split(|c: char| !c.is_ascii_digit());
    let mut parts = parts.map(|part| part.parse::<u32>().unwrap_or_default().min(99));
    let mut next = || parts.next().unwrap_or_default();
    next() * 10_000 + next() * 100 + next()
}

async fn sqlite_facts(pool: &SqlitePool) -> Result<Facts, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut facts = Facts::new();
    for name in ["synchronous", "foreign_keys"] {
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA {name}"));
        let number: i64 = sqlx::query_scalar(pragma).fetch_one(&mut *connection).await?;
        facts.insert(name.to_owned(), number.to_string());
    }
    let mode = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    facts.insert("journal_mode".to_owned(), mode);
    const FTS5: &str = "SELECT sqlite_compileoption_used('ENABLE_FTS5')";
    let has_fts5: i64 = sqlx::query_scalar(FTS5).fetch_one(&mut *connection).await?;
    let fts5 = if has_fts5 == 1 { "compiled in" } else { "absent" };
    facts.insert("fts5".to_owned(), fts5.to_owned());
    const FILE: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let file: String = sqlx::query_scalar(FILE).fetch_one(&mut *connection).await?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let file_system = match file.is_empty() {
        true => Some("none".to_owned()),
        false => file_system(&mounts, Path::new(&file)),
    };
    facts.extend(file_system.map(|kind| ("file_system".to_owned(), kind)));
    Ok(facts)
}

/// The kind of file system that a file is on, by Linux's list of mounts; the longest and newest
/// mount point above it counts. `None` where there is no such list.
fn file_system(mounts: &str, file: &Path) -> Option<String> {
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (fields.next(), fields.next()) else { continue };
        // Spaces and their like are written as octal numbers.
        let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        let length = Path::new(&point).components().count();
        if file.starts_with(&point) && found.is_none_or(|(longest, _)| longest <= length) {
            found = Some((length, kind));
        }
    }
    found.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a server that answers one thing so, and everything else well.
    fn verdict_of(rules: &'static [Rule], name: &str, value: &str) -> Verdict {
        let facts = Facts::from([(name.to_owned(), value.to_owned())]);
        let findings = judge(rules, &facts);
        assert_eq!(findings.len(), 1, "{name}: {findings:?}");
        assert_eq!(findings[0].value, value);
        assert_eq!(findings[0].advice.is_empty(), findings[0].verdict == Verdict::Good);
        findings[0].verdict
    }

    #[test]
    fn each_setting_that_hurts_is_told() {
        let cases = [
            (POSTGRES, "server_version_num", "150000", "140011", Verdict::Doubtful),
            (POSTGRES, "fsync", "on", "off", Verdict::Harmful),
            (POSTGRES, "full_page_writes", "on", "off", Verdict::Harmful),
            (POSTGRES, "synchronous_commit", "on", "off", Verdict::Harmful),
            (POSTGRES, "in_recovery", "no", "yes", Verdict::Harmful),
            (POSTGRES, "default_transaction_read_only", "off", "on", Verdict::Harmful),
            (POSTGRES, "server_encoding", "UTF8", "SQL_ASCII", Verdict::Harmful),
            (
                POSTGRES,
                "default_transaction_isolation",
                "read committed",
                "serializable",
                Verdict::Doubtful,
            ),
            (POSTGRES, "statement_timeout", "0", "500", Verdict::Doubtful),
            (POSTGRES, "transaction_timeout", "60000", "29999", Verdict::Doubtful),
            (POSTGRES, "lock_timeout", "5000", "1", Verdict::Doubtful),
            (POSTGRES, "idle_in_transaction_session_timeout", "0", "1000", Verdict::Doubtful),
            (POSTGRES, CONNECTIONS, "16", "15", Verdict::Doubtful),
            (MYSQL, "mysql_version", "80017", "80016", Verdict::Harmful),
            (MYSQL, "mariadb_version", "101106", "100515", Verdict::Harmful),
            (MYSQL, "mariadb_version", "110402", "100618", Verdict::Doubtful),
            (MYSQL, "innodb_flush_log_at_trx_commit", "1", "2", Verdict::Harmful),
            (MYSQL, "sync_binlog", "1", "0", Verdict::Harmful),
            (MYSQL, "innodb_doublewrite", "ON", "OFF", Verdict::Harmful),
            (MYSQL, "innodb_flush_method", "O_DIRECT", "nosync", Verdict::Harmful),
            (MYSQL, "read_only", "OFF", "ON", Verdict::Harmful),
            (
                MYSQL,
                "sql_mode",
                "ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES",
                "STRICT_TRANS_TABLES",
                Verdict::Harmful,
            ),
            (MYSQL, "isolation", "READ-COMMITTED", "REPEATABLE-READ", Verdict::Harmful),
            (MYSQL, "max_allowed_packet", "16777216", "4194304", Verdict::Harmful),
            (MYSQL, "wait_timeout", "28800", "10", Verdict::Doubtful),
            (MYSQL, CONNECTIONS, "24", "23", Verdict::Doubtful),
            (SQLITE, "journal_mode", "wal", "delete", Verdict::Harmful),
            (SQLITE, "synchronous", "2", "1", Verdict::Harmful),
            (SQLITE, "foreign_keys", "1", "0", Verdict::Harmful),
            (SQLITE, "file_system", "ext4", "nfs4", Verdict::Harmful),
            (SQLITE, "file_system", "xfs", "tmpfs", Verdict::Doubtful),
            (SQLITE, "file_system", "btrfs", "overlay", Verdict::Doubtful),
        ];
        for (rules, name, good, bad, verdict) in cases {
            assert_eq!(verdict_of(rules, name, good), Verdict::Good, "{name} = {good}");
            assert_eq!(verdict_of(rules, name, bad), verdict, "{name} = {bad}");
        }
    }

    #[test]
    fn a_file_is_on_the_nearest_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /srv tmpfs rw 0 0\n\
                      host:/x /srv/my\\040data nfs4 rw 0 0\n/dev/b /srvx xfs rw 0 0\n";
        for (file, kind) in [
            ("/home/tollgate.db", "ext4"),
            ("/srv/tollgate.db", "tmpfs"),
            ("/srv/my data/tollgate.db", "nfs4"),
            ("/srvx/tollgate.db", "xfs"),
        ] {
            assert_eq!(file_system(mounts, Path::new(file)).as_deref(), Some(kind), "{file}");
        }
        assert_eq!(file_system("", Path::new("/tollgate.db")), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_number("8.0.36"), 80_036);
        assert_eq!(version_number("10.11.6-MariaDB-0+deb12u1"), 101_106);
        assert_eq!(version_number("9.1"), 90_100);
    }
}
