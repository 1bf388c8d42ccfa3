// An upstream of a simulated session, seen from its host.
@testable import Streams

extension SessionWorld {
  /// An upstream of the session, as its host knows it.
  final class Connection {
    let id: Int
    let driver: Driver?
    /// The CONNECT_OPEN call that led to it.
    let openSerial: UInt32?
    let since: Double
    let openSeconds: Double
    let isReadOnly: Bool
    var target: UpstreamTarget?
    var backend: SessionBackendModel?
    /// When the connection was lost whose place it has; nil: it has none's.
    var lostAt: Double?
    var slot = -1
    var isConnected = false
    /// The session has removed it, or was told that there is no daemon.
    var isGone = false
    /// The SASL library is at work for it.
    var hasSASLStep = false
    /// The SASL library expects nothing more.
    var isLibraryDone = false
    /// The host has reported a failure.
    var hasFailed = false
    /// What it uses of the broker's quota of helpers.
    var helpers = 0
    /// The next step of its daemon's streams is due.
    var areStreamsFed = false

    init(
      id: Int, driver: Driver?, openSerial: UInt32?, since: Double, openSeconds: Double,
      isReadOnly: Bool
    ) {
      self.id = id
      self.driver = driver
      self.openSerial = openSerial
      self.since = since
      self.openSeconds = openSeconds
      self.isReadOnly = isReadOnly
    }
  }
}
