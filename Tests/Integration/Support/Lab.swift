// A private libvirt for tests: lab/lab, started once for each layout and purpose.
import Foundation
import Glibc
import Testing

/// A running lab. Suites share it; it ends with the test process.
final class Lab: Sendable {
  enum Layout: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// One libvirtd with every driver.
    case mono
    /// One libvirtd for each driver, with no other driver, under the modular daemons' names.
    case modular
    var testDescription: String { rawValue }
  }

  let layout: Layout
  let directory: String
  /// nil if another object keeps the lab running.
  private let watcher: Watcher?

  /// The directory with the daemons' sockets, under the names that a broker expects.
  var sockets: String { directory + "/sock" }

  /// The lab of a layout; the first call starts it. Another purpose is another lab: for suites that must not see what
  /// others define and start, or that kill daemons.
  static func shared(
    _ layout: Layout, for purpose: String = "any", environment: [String: String] = [:]
  ) async throws -> Lab {
    try await Labs.all.lab(layout, purpose, environment)
  }

  fileprivate init(_ layout: Layout, _ number: Int, _ environment: [String: String]) throws {
    self.layout = layout
    directory = "/tmp/vb\(getpid())-lab\(number)"
    let watcher = try Watcher(
      [Lab.script, "hold", directory, layout.rawValue], environment: environment)
    guard Pipe.read(watcher.output).starts(with: "ready".utf8) else {
      throw Trouble("the \(layout) lab did not start; what it said is above")
    }
    self.watcher = watcher
  }

  /// A lab that runs already. Another object ends it.
  init(_ layout: Layout, runningIn directory: String) {
    self.layout = layout
    self.directory = directory
    watcher = nil
  }

  // MARK: Its daemons

  /// The daemon that serves a driver: `qemu`, `storage`, `network`, ...
  func daemon(for driver: String) -> String {
    guard layout == .modular else { return "libvirtd" }
    return Self.daemonNames[driver] ?? "virtqemud"
  }

  private static let daemonNames = [
    "qemu": "virtqemud", "storage": "virtstoraged", "network": "virtnetworkd",
    "nodedev": "virtnodedevd", "secret": "virtsecretd", "nwfilter": "virtnwfilterd",
    "interface": "virtinterfaced",
  ]

  /// The socket of the daemon that serves a driver.
  func socket(_ driver: String, readOnly: Bool = false) -> String {
    let name = layout == .mono ? "libvirt" : daemon(for: driver)
    return "\(sockets)/\(name)-sock\(readOnly ? "-ro" : "")"
  }

  /// The URI of a driver's daemon without a broker.
  func directURI(_ driver: String = "qemu", path: String = "/system", readOnly: Bool = false)
    -> String
  {
    // A monolithic daemon serves every driver's objects on a qemu connection.
    let scheme = layout == .mono && Self.daemonNames[driver] != nil ? "qemu" : driver
    return "\(scheme)+unix://\(path)?socket=\(socket(driver, readOnly: readOnly))"
  }

  /// The process ID of a daemon.
  func pid(of daemon: String) async throws -> pid_t {
    let text = try await Command(Lab.script, "pid", directory, daemon).output()
    guard let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
      throw Trouble("lab pid \(daemon) said: \(text)")
    }
    return pid
  }

  /// Kills a daemon, like a crash. Guests keep running.
  func kill(_ daemon: String) async throws {
    let pid = try await pid(of: daemon)
    _ = Glibc.kill(pid, SIGKILL)
    while Glibc.kill(pid, 0) == 0 { try await Task.sleep(for: .milliseconds(5)) }
  }

  /// Starts a daemon that was killed. Returns when it serves.
  func start(_ daemon: String) async throws {
    try await Command(Lab.script, "start", directory, daemon).output()
  }

  /// Boots a guest that echoes its serial port. Returns when it is ready. With `mebibytes` of memory, the guest fills
  /// its memory with incompressible bytes.
  func startGuest(_ name: String, mebibytes: Int? = nil) async throws {
    let memory = mebibytes.map { ["\($0)"] } ?? []
    try await Command([Lab.script, "guest", directory, name] + memory).output()
  }

  /// Boots a guest as `startGuest` does, unless another suite with this lab has done so.
  func guest(_ name: String) async throws {
    try await Labs.all.guest(self, name)
  }

  /// Creates and starts a storage pool in a directory, unless another suite with this lab has done so. Returns the
  /// directory, which tests can access too.
  @discardableResult
  func pool(_ name: String) async throws -> String {
    try await Labs.all.pool(self, name)
    return "\(directory)/pool-\(name)"
  }

  fileprivate func startPool(_ name: String) async throws {
    try await virshOutput(
      directURI("storage"), "pool-create-as", name, "dir", "--build", "--target",
      "\(directory)/pool-\(name)")
  }

  /// A broker in front of this lab, for suites that neither stop it nor count its descriptors.
  func sharedBroker() async throws -> BrokerProcess {
    try await Labs.all.broker(self)
  }

  // MARK: Whether there can be one

  /// Skips a suite, with the reason, if the kernel or the user does not allow a lab.
  static let isPossible = ConditionTrait.enabled(
    if: whyNot == nil, "SKIPPED: \(whyNot ?? "")")

  private static let whyNot: String? = {
    guard getuid() == 0 else { return "a private libvirt needs root" }
    let probe = Command("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true")
    do {
      let result = try probe.runHere()
      return result.status == 0 ? nil : "no namespaces for a private libvirt: \(result.errors)"
    } catch {
      return "no namespaces for a private libvirt: \(error)"
    }
  }()

  /// The folder of the integration tests in the source tree.
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().path
  static let script = folder + "/lab/lab"
}

/// All labs of the test process, and the guests and brokers that suites share.
private actor Labs {
  static let all = Labs()
  private var labs: [String: Task<Lab, any Error>] = [:]
  private var guests: [String: Task<Void, any Error>] = [:]
  private var pools: [String: Task<Void, any Error>] = [:]
  private var brokers: [String: Task<BrokerProcess, any Error>] = [:]

  func lab(_ layout: Lab.Layout, _ purpose: String, _ environment: [String: String]) async throws
    -> Lab
  {
    let key = "\(layout) \(purpose)"
    let number = labs.count
    let task = labs[key] ?? Task { try await blocking { try Lab(layout, number, environment) } }
    labs[key] = task
    return try await task.value
  }

  func guest(_ lab: Lab, _ name: String) async throws {
    let key = "\(lab.directory) \(name)"
    let task = guests[key] ?? Task { try await lab.startGuest(name) }
    guests[key] = task
    try await task.value
  }

  func pool(_ lab: Lab, _ name: String) async throws {
    let key = "\(lab.directory) \(name)"
    let task = pools[key] ?? Task { try await lab.startPool(name) }
    pools[key] = task
    try await task.value
  }

  func broker(_ lab: Lab) async throws -> BrokerProcess {
    let task = brokers[lab.directory] ?? Task { try await BrokerProcess.start(in: lab) }
    brokers[lab.directory] = task
    return try await task.value
  }
}
