//! Pages of members in every state; their bodies and codes are etcd 3.7's.

use super::*;

use http_body_util::BodyExt;

/// A member in a given state.
#[derive(Default)]
pub struct Member {
    pub facts: Facts,
    pub local: Option<Error>,
    pub agreed: Option<Error>,
    /// As it answers; `None` = it is not behind.
    pub lag: Option<Result<Option<u64>, Error>>,
}

impl Probe for Member {
    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn serializable_read(&self) -> Result<(), Error> {
        self.local.clone().map_or(Ok(()), Err)
    }

    fn linearizable_read(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.agreed.clone().map_or(Ok(()), Err) })
    }

    fn lag(&self, _: Duration) -> BoxFuture<'_, Result<Option<u64>, Error>> {
        let heard = self.lag.clone().unwrap_or(Ok(Some(0)));
        Box::pin(async { heard })
    }

    fn observe(&self, metrics: &Metrics) {
        metrics.server.has_leader.set(i64::from(self.facts.has_leader));
    }
}

pub fn healthy() -> Member {
    Member { facts: Facts { has_leader: true, in_cluster: true, ..Facts::default() }, ..Member::default() }
}

fn pages(member: Member) -> Pages {
    Pages::new(Arc::new(member), Arc::new(Metrics::new(false)))
}

async fn get(pages: &Pages, path: &str) -> (u16, String) {
    let page = pages.answer(&Method::GET, &path.parse().unwrap(), Surface::Client).await;
    let status = page.status().as_u16();
    let body = page.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_healthy_member_answers_as_etcd() {
    let pages = pages(healthy());
    for (path, status, body) in [
        ("/health", 200, r#"{"health":"true","reason":""}"#),
        ("/health?serializable=true", 200, r#"{"health":"true","reason":""}"#),
        ("/livez", 200, "ok\n"),
        ("/livez?verbose", 200, "[+]serializable_read ok\nok\n"),
        ("/readyz", 200, "ok\n"),
        (
            "/readyz?verbose",
            200,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
        ),
        (
            "/readyz?exclude=linearizable_read&exclude=x&verbose",
            200,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n",
        ),
        ("/readyz/non_learner", 200, "ok\n"),
        ("/livez/serializable_read?verbose", 200, "[+]serializable_read ok\nok\n"),
        ("/livez/non_learner", 404, "404 page not found\n"),
        ("/readyz/foo", 404, "404 page not found\n"),
        ("/foo", 404, "404 page not found\n"),
        ("/version", 200, r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#),
    ] {
        assert_eq!(get(&pages, path).await, (status, body.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_sick_member_says_why() {
    let alarmed = |alarm| {
        let mut member = healthy();
        member.facts.alarms = vec![alarm];
        member
    };
    let mut leaderless = Member { agreed: Some(Error::Timeout), ..Member::default() };
    leaderless.facts.in_cluster = true;
    let learner = || {
        let mut member = healthy();
        member.facts.is_learner = true;
        member
    };
    let behind = |lag| pages(Member { lag: Some(lag), ..healthy() });
    // No quorum now, and nothing missed before.
    let cut_off = || pages(Member { agreed: Some(Error::Timeout), lag: Some(Ok(Some(3))), ..healthy() });
    let no_space = || pages(alarmed(AlarmType::Nospace));
    let corrupt = || pages(alarmed(AlarmType::Corrupt));
    for (pages, path, status, body) in [
        (no_space(), "/health", 503, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n"),
        (no_space(), "/health?exclude=NOSPACE", 200, "{\"health\":\"true\",\"reason\":\"\"}"),
        (no_space(), "/readyz", 200, "ok\n"),
        (corrupt(), "/health?exclude=NOSPACE", 503, "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n"),
        (
            corrupt(),
            "/readyz",
            503,
            "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n\n",
        ),
        (corrupt(), "/readyz/data_corruption", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"),
        (corrupt(), "/readyz?exclude=data_corruption", 200, "ok\n"),
        (corrupt(), "/livez", 200, "ok\n"),
        (behind(Ok(Some(1_000))), "/readyz", 200, "ok\n"),
        (
            behind(Ok(Some(1_001))),
            "/readyz?exclude=linearizable_read&exclude=serializable_read&exclude=data_corruption&exclude=non_learner",
            503,
            "[-]current failed: 1001 committed entries are not applied, 1000 may be\n\n",
        ),
        (
            behind(Ok(None)),
            "/readyz/current",
            503,
            "[-]current failed: no quorum was heard of since this member started\n\n",
        ),
        (behind(Err(Error::Stopped)), "/readyz/current", 503, "[-]current failed: etcdserver: server stopped\n\n"),
        (behind(Ok(None)), "/livez", 200, "ok\n"),
        (cut_off(), "/readyz?exclude=linearizable_read", 200, "ok\n"),
        (pages(learner()), "/readyz/non_learner", 503, "[-]non_learner failed: not supported for learner\n\n"),
        (pages(Member::default()), "/health", 503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"),
        (pages(Member::default()), "/health?serializable=true", 200, "{\"health\":\"true\",\"reason\":\"\"}"),
        (
            pages(leaderless),
            "/readyz/linearizable_read",
            503,
            "[-]linearizable_read failed: etcdserver: request timed out\n\n",
        ),
        (
            pages(Member { agreed: Some(Error::Timeout), ..healthy() }),
            "/health",
            503,
            "{\"health\":\"false\",\"reason\":\"RANGE ERROR:etcdserver: request timed out\"}\n",
        ),
        (
            pages(Member::default()),
            "/version",
            200,
            r#"{"etcdserver":"3.7.3","etcdcluster":"not_decided","storage":"unknown"}"#,
        ),
    ] {
        assert_eq!(get(&pages, path).await, (status, body.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn pages_are_read_with_get_only_and_metrics_listeners_have_fewer() {
    let pages = pages(healthy());
    for path in ["/health", "/readyz", "/version"] {
        let page = pages.answer(&Method::POST, &path.parse().unwrap(), Surface::Client).await;
        assert_eq!((page.status().as_u16(), page.headers()[ALLOW].to_str().unwrap()), (405, "GET"), "{path}");
    }
    for (path, status) in [("/version", 404), ("/health", 200), ("/livez", 200), ("/metrics", 200)] {
        let page = pages.answer(&Method::GET, &path.parse().unwrap(), Surface::Metrics).await;
        assert_eq!(page.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn checks_are_counted() {
    let pages = pages(healthy());
    get(&pages, "/health").await;
    get(&pages, "/readyz").await;
    get(&pages, "/readyz").await;
    let (_, text) = get(&pages, "/metrics").await;
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_health_success 1",
        "etcd_server_health_failures 0",
        "etcd_server_healthcheck{name=\"non_learner\",type=\"readyz\"} 1",
        "etcd_server_healthchecks_total{name=\"non_learner\",status=\"success\",type=\"readyz\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
