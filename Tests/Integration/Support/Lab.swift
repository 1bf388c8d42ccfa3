// A private libvirt for the tests: lab/lab, started once for each layout and purpose.
import Foundation
import Glibc
import Testing

/// One running lab. Suites share it; the test process's end is its own.
final class Lab: Sendable {
  enum Layout: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// One libvirtd that serves everything.
    case mono
    /// One libvirtd for each driver, knowing no other, under the modular daemons' names.
    case modular
    var testDescription: String { rawValue }
  }

  let layout: Layout
  let directory: String
  /// nil where somebody else keeps it up.
  private let watcher: Watcher?

  /// The directory with the daemons' sockets, under the names a broker expects.
  var sockets: String { directory + "/sock" }

  /// The lab of a layout, started by whoever asks first. Another purpose is another lab: one that must
  /// not see what other suites define and start, or one whose daemons get killed.
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

  /// One that runs already, and ends with somebody else.
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

  /// The URI that reaches a driver's daemon without a broker.
  func directURI(_ driver: String = "qemu", path: String = "/system", readOnly: Bool = false)
    -> String
  {
    // A monolithic daemon serves every driver's objects on a qemu connection.
    let scheme = layout == .mono && Self.daemonNames[driver] != nil ? "qemu" : driver
    return "\(scheme)+unix://\(path)?socket=\(socket(driver, readOnly: readOnly))"
  }

  /// The process of a daemon.
  func pid(of daemon: String) async throws -> pid_t {
    let text = try await Command(Lab.script, "pid", directory, daemon).output()
    guard let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
      throw Trouble("lab pid \(daemon) said: \(text)")
    }
    return pid
  }

  /// Kills a daemon as a crash would. Guests live on.
  func kill(_ daemon: String) async throws {
    let pid = try await pid(of: daemon)
    _ = Glibc.kill(pid, SIGKILL)
    while Glibc.kill(pid, 0) == 0 { try await Task.sleep(for: .milliseconds(5)) }
  }

  /// Starts a daemon that was killed; returns when it serves.
  func start(_ daemon: String) async throws {
    try await Command(Lab.script, "start", directory, daemon).output()
  }

  /// Boots a guest that echoes its serial port; returns when it does. Given its memory in MiB, it has
  /// filled it with bytes that cannot be packed.
  func startGuest(_ name: String, mebibytes: Int? = nil) async throws {
    let memory = mebibytes.map { ["\($0)"] } ?? []
    try await Command([Lab.script, "guest", directory, name] + memory).output()
  }

  /// Boots a guest as `startGuest` does, unless a suite that shares this lab has done so.
  func guest(_ name: String) async throws {
    try await Labs.all.guest(self, name)
  }

  /// Makes a storage pool of a directory and starts it, unless a suite that shares this lab has done
  /// so; the directory, which the tests see as well.
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

  /// A broker in front of this lab, for suites that neither stop it nor count what it has open.
  func sharedBroker() async throws -> BrokerProcess {
    try await Labs.all.broker(self)
  }

  // MARK: Whether there can be one

  /// For suites: they are skipped, with the reason, where the kernel or the user does not allow a lab.
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

/// Every lab of the test process, and the guests and brokers that suites share.
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
