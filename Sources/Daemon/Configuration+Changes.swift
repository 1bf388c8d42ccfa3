// The differences between two configurations, and which of them a running daemon can adopt.

extension ConfigurationKey {
  /// A running daemon adopts a new value of this key. Every other key needs a restart.
  var isLive: Bool { ConfigurationKey.live.contains(name) }

  private static let live: Set<String> = [
    "max_clients", "max_queued_clients", "max_anonymous_clients", "max_client_requests",
    "max_clients_per_identity", "max_clients_per_address", "max_client_buffer", "max_total_buffer",
    "auth_timeout",
    "open_timeout", "keepalive_interval", "keepalive_count", "sasl_allowed_username_list",
    "tcp_min_ssf",
    "log_level", "log_filters", "log_outputs", "key_file", "cert_file", "ca_file", "crl_file",
    "tls_no_sanity_certificate", "tls_no_verify_certificate", "tls_allowed_dn_list", "tls_priority",
    "tls_handshake_timeout", "tls_max_handshakes", "max_console_rate", "max_upload_rate",
    "max_download_rate", "max_migration_rate", "identity_rates", "slow_call_seconds",
    "min_workers", "max_workers", "prio_workers", "admin_min_workers", "admin_max_workers",
    "admin_max_clients", "admin_max_queued_clients", "admin_keepalive_interval",
    "admin_keepalive_count", "upstream_allowed_hosts", "upstream_settings",
    "upstream_reconnect", "upstream_reconnect_seconds",
  ]

  /// The keys whose values differ, in the order of the table.
  static func changed(from old: Configuration, to new: Configuration) -> [ConfigurationKey] {
    table.filter { $0.value(old) != $0.value(new) }
  }
}
