//! `grpc.health.v1.Health`: serving from the moment the listeners open until the server stops.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use quorate_api::health::health_check_response::ServingStatus;
use quorate_api::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_server,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Knows the one service `""`, the whole server, as etcd's does.
#[derive(Clone)]
pub struct Health {
    stopping: CancellationToken,
}

impl Health {
    /// Not serving any more once `stopping` is cancelled.
    pub fn new(stopping: CancellationToken) -> Health {
        Health { stopping }
    }

    fn answer(&self) -> HealthCheckResponse {
        let status = if self.stopping.is_cancelled() { ServingStatus::NotServing } else { ServingStatus::Serving };
        HealthCheckResponse { status: status.into() }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" => Ok(Response::new(self.answer())),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = [(String::new(), self.answer())].into();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Sends the status now and when it changes, then ends with the server.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let health = self.clone();
        let service = request.into_inner().service;
        let first = match service.as_str() {
            "" => self.answer(),
            _ => HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() },
        };
        let stopped = async move {
            health.stopping.cancelled().await;
            Ok(if service.is_empty() { health.answer() } else { first })
        };
        Ok(Response::new(Box::pin(
            futures::stream::once(async move { Ok(first) }).chain(futures::stream::once(stopped)),
        )))
    }
}
