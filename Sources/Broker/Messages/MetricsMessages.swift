// VB-METR: metrics over HTTP.
import Streams

extension MessageDefinition {
  static let servingMetrics = MessageDefinition(
    "VB-METR-001", .info, "serving metrics on …")
  static let metricsListenFailed = MessageDefinition(
    "VB-METR-002", .error, "metrics_listen: …",
    "The metrics cannot be served at the address or path of `metrics_listen`; the cause follows.")
  static let noMetricsAddress = MessageDefinition(
    "VB-METR-003", .error, "no address to serve metrics on for '…' port '…'",
    "The host name has no address of a family that this kernel supports.")
  static let cannotServeMetrics = MessageDefinition(
    "VB-METR-004", .error, "cannot serve metrics on …",
    "The broker has too few file descriptors, or the system has no memory left.")

  // MARK: HTTP responses

  static let metricsMethodNotAllowed = MessageDefinition(
    "VB-METR-005", .error, "only GET is supported",
    "The response to an HTTP request with another method.")
  static let metricsPathNotFound = MessageDefinition(
    "VB-METR-006", .error, "the metrics are at /metrics",
    "The response to an HTTP request for another path.")
}
