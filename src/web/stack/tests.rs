use std::sync::Mutex;

use hyper::StatusCode;

use super::*;
use crate::server;
use crate::telemetry::connections::Connections;
use crate::web::cors::CorsNames;
use crate::web::min_rate::MinRate;

/// Panics in its handler, and records what is logged.
#[derive(Default)]
struct Panicking(Mutex<Vec<u16>>);

impl Application for Panicking {
    type Route = ();
    type Identity = ();

    fn route(&self, _: &Method, _: &str) -> Result<(), Problem> {
        Ok(())
    }

    fn is_monitor(&self, (): &()) -> bool {
        false
    }

    fn name(&self, (): &()) -> &'static str {
        "panic"
    }

    fn template(&self, (): &()) -> &'static str {
        "/panic"
    }

    fn limiters(&self, _: Option<&()>) -> Vec<&dyn RateLimiter> {
        Vec::new()
    }

    fn identify(&self, _: Option<&()>, _: &HeaderMap) -> Result<(), Problem> {
        Ok(())
    }

    fn known_user(&self, (): &()) -> Option<UserId> {
        None
    }

    async fn caller(&self, (): &(), ip: IpAddr, (): ()) -> Result<Caller, Problem> {
        Ok(Caller::new(ip, None))
    }

    async fn call(&self, (): (), _: Caller, _: Request<RequestBody>) -> Result<Response<Body>, Problem> {
        panic!("secret of /etc/passwd")
    }

    fn finished(&self, exchange: &Exchange<'_>, _: Option<&Problem>) {
        self.0.lock().unwrap().push(exchange.status);
    }
}

#[tokio::test]
async fn panic_is_a_500_without_details_and_the_server_continues() {
    let second = Duration::from_secs(1);
    let min_rate = MinRate { bytes_per_second: 0, grace: second };
    let stack = Arc::new(Stack {
        sampler: Sampler::default(),
        app: Panicking::default(),
        trusted_proxies: Vec::new(),
        cors: Cors::new(None, CorsNames { methods: vec![Method::GET], ..CorsNames::default() }),
        read_limits: ReadLimits { min_rate, drain_bytes: 0 },
    });
    let listener = server::Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let limits = server::Limits {
        connections: 4,
        head_timeout: second,
        write_rate: min_rate,
        drain_time: Duration::ZERO,
        shutdown_timeout: second,
    };
    let handling = Arc::clone(&stack);
    let handler = move |request, peer| Arc::clone(&handling).handle(request, peer);
    let client = async {
        for _ in 0..2 {
            let response = reqwest::get(&url).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(response.headers().contains_key(X_REQUEST_ID));
            let problem: serde_json::Value = response.json().await.unwrap();
            assert_eq!(problem["status"], 500);
            assert!(!problem.to_string().contains("passwd"), "{problem}");
        }
    };
    server::run(listener, handler, limits, Vec::new(), Connections::default(), client).await;
    assert_eq!(*stack.app.0.lock().unwrap(), [500, 500]);
}
