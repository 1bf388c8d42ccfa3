// The settings of the admin socket, and the log settings that it may change.
public import Streams

/// The admin socket's limits, with the meaning libvirt's documentation gives them.
public struct AdminSettings: Sendable, Equatable {
  public var maxClients = 5000
  /// Backlog of the socket.
  public var maxQueuedClients = 20
  public var keepAlive = KeepAliveSettings()
  /// What virt-admin reports as the thread pool of the main server, and of the admin server.
  public var mainWorkers = WorkerSettings(priority: 5)
  public var adminWorkers = WorkerSettings()
  public init() {}
}

/// What an administrator may read and change of the daemon's log at run time. The daemon gives this to the broker,
/// which only passes it on.
public struct LogSteering {
  /// The outputs as one string, and their number.
  public var outputs: () -> (text: String, count: Int)
  public var filters: () -> (text: String, count: Int)
  /// Sets new outputs; nil or empty: the default. Returns nil, or the error; the old ones then stay.
  public var setOutputs: (String?) -> BrokerFailure?
  public var setFilters: (String?) -> BrokerFailure?

  public init(
    outputs: @escaping () -> (text: String, count: Int),
    filters: @escaping () -> (text: String, count: Int),
    setOutputs: @escaping (String?) -> BrokerFailure?,
    setFilters: @escaping (String?) -> BrokerFailure?
  ) {
    self.outputs = outputs
    self.filters = filters
    self.setOutputs = setOutputs
    self.setFilters = setFilters
  }
}
