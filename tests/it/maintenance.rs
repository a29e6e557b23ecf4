//! Maintenance of stores that instances share: one of them does it, and another one takes over.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bucket::BUCKET;
use crate::instances::Shared;
use crate::support::{Server, distinct, file, form, sha256, within};

/// Within this time an instance takes over, and the others read its notes.
const SOON: Duration = Duration::from_secs(90);

/// Returns the file of the object with a draft's photo.
fn object(shared: &Shared, draft: &Value) -> PathBuf {
    let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
    shared.bucket.dir().join(BUCKET).join(&url[1..])
}

/// Puts a photo without a row into the bucket that is older than the grace time.
fn leave_garbage(shared: &Shared, bytes: &[u8]) -> PathBuf {
    let path = shared.bucket.dir().join(BUCKET).join(format!("media/{}.jpg", sha256(bytes)));
    std::fs::write(&path, bytes).unwrap();
    let old = SystemTime::now() - Duration::from_secs(2 * 86_400);
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    path
}

/// Returns which of the instances leads, if exactly one does.
fn leader(servers: &[Server]) -> Option<usize> {
    let leads: Vec<usize> =
        (0..servers.len()).filter(|at| servers[*at].metric("maintenance_leads") == 1).collect();
    match leads[..] {
        [leader] => Some(leader),
        _ => None,
    }
}

fn sum(servers: &[Server], metric: &str) -> u64 {
    servers.iter().map(|server| server.metric(metric)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_instances_does_maintenance_and_the_other_continues_after_a_kill() {
    let Some(shared) = Shared::start().await else { return };
    let client = shared.cluster.client(&shared.database).await;
    let first = shared.instance(&[]);
    let (_, kept) = first.upload(form(&[file(&distinct(0))])).await;
    let (_, lost) = first.upload(form(&[file(&distinct(1))])).await;
    let (_, also_lost) = first.upload(form(&[file(&distinct(2))])).await;
    first.stop();
    let lost_file = object(&shared, &lost);
    std::fs::remove_file(&lost_file).unwrap();
    std::fs::remove_file(object(&shared, &also_lost)).unwrap();
    let garbage = leave_garbage(&shared, b"of an upload that failed");
    let again =
        "UPDATE catalog_state SET created = now() - interval '9 days'; UPDATE task_lease SET notes = ''";
    client.batch_execute(again).await.unwrap();

    let mut servers = vec![shared.instance(&[]), shared.instance(&[])];
    within(SOON, "both instances know what the pass of one found", || {
        servers
            .iter()
            .all(|server| server.metric("media_missing") == 2 && server.metric("collector_last_run") > 0)
    })
    .await;
    assert!(!garbage.exists() && object(&shared, &kept).exists());
    assert_eq!(sum(&servers, "media_collected_total"), 1);
    let leads = leader(&servers).expect("one instance leads");
    assert_eq!(servers[1 - leads].metric("maintenance_requests_total"), 0);
    assert_eq!(servers[1 - leads].metric("media_scrubbed_total"), 0);

    // Its lease ends now, as it does a minute after a kill.
    let garbage = leave_garbage(&shared, b"of another upload that failed");
    servers.remove(leads).signal(Signal::SIGKILL);
    client.batch_execute("UPDATE task_lease SET until = now()").await.unwrap();
    within(SOON, "the other instance leads", || leader(&servers) == Some(0)).await;
    // It searches at once, because it knows the number of missing photos and not their names.
    within(SOON, "it continues the maintenance", || !garbage.exists()).await;
    within(SOON, "its pass ends", || servers[0].metric("maintenance_pass") == 100).await;
    assert_eq!(servers[0].metric("media_missing"), 2);
    let (status, _) = servers[0].upload(form(&[file(&distinct(1))])).await;
    assert_eq!(status, 201);
    assert!(lost_file.exists());
    let ready: Value = servers[0].get("/api/v1/ready").await.json().await.unwrap();
    assert_eq!(ready["missing_media"], 1, "{ready}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_instance_gives_the_lease_up_and_one_without_jobs_takes_none() {
    let Some(shared) = Shared::start().await else { return };
    let idle = shared.instance(&[("JOBS_ENABLED", "false")]);
    let (status, draft) = idle.upload(form(&[file(&distinct(0))])).await;
    assert_eq!(status, 201);
    within(SOON, "an instance without jobs looks for photos itself", || {
        idle.metric("collector_last_run") > 0
    })
    .await;
    assert_eq!(idle.metric("maintenance_leads"), 0);
    let client = shared.cluster.client(&shared.database).await;
    let is_held = async || {
        let rows = client.query("SELECT until > now() FROM task_lease", &[]).await.unwrap();
        rows.first().map(|row| row.get::<_, bool>(0))
    };
    assert_eq!(is_held().await, None);
    let leader = shared.instance(&[]);
    within(SOON, "it leads", || leader.metric("maintenance_leads") == 1).await;
    assert_eq!(is_held().await, Some(true));
    leader.stop();
    assert_eq!(is_held().await, Some(false));
    std::fs::remove_file(object(&shared, &draft)).unwrap();
    client.batch_execute("UPDATE task_lease SET notes = ''").await.unwrap();
    let leader = shared.instance(&[]);
    within(SOON, "both know of it", || [&leader, &idle].iter().all(|it| it.metric("media_missing") == 1))
        .await;
}
