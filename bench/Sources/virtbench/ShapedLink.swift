// A slow link within this machine: a network namespace, two ends of a virtual Ethernet pair, and a queue on each.
import ArgumentParser
import Ends
import Foundation

/// A round-trip time and a rate, as `20ms,100mbit`.
struct ShapedLink: ExpressibleByArgument, CustomStringConvertible {
  /// In microseconds; 0 adds no delay.
  private let delay: Double
  private let rate: String
  let description: String

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    let units = ["us": 1.0, "ms": 1e3, "s": 1e6]
    guard let (number, unit) = Self.split(parts[0]), let factor = units[unit],
      number * factor <= 10e6, let (speed, speedUnit) = Self.split(parts[1]), speed > 0,
      ["kbit", "mbit", "gbit"].contains(speedUnit)
    else { return nil }
    delay = number * factor
    rate = String(parts[1])
    description = argument
  }

  private static func split(_ text: Substring) -> (number: Double, unit: String)? {
    let digits = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
    guard let number = Double(digits), number <= 1e6 else { return nil }
    return (number, String(text.dropFirst(digits.count)))
  }

  private var queue: [String] {
    delay > 0
      ? ["netem", "delay", "\(Int(delay / 2))us", "rate", rate, "limit", "10000"]
      : ["tbf", "rate", rate, "burst", "64kb", "latency", "50ms"]
  }

  private var name: String { "vb\(getpid())" }

  /// Why such a link cannot be created here; nil if it can.
  func obstacle() -> String? {
    guard geteuid() == 0 else { return "only root can make a network namespace" }
    for tool in ["ip", "tc"] where Self.find(tool) == nil { return "there is no \(tool)" }
    if let complaint = Self.complaint("ip", ["netns", "add", name]) {
      return "no network namespace can be made: \(complaint)"
    }
    defer { _ = Self.complaint("ip", ["netns", "delete", name]) }
    let complaint = Self.complaint(
      "tc", ["-n", name, "qdisc", "add", "dev", "lo", "root"] + queue)
    guard let complaint else { return nil }
    return "this kernel has no sch_\(queue[0]): \(complaint)"
  }

  /// Runs this program again at the far end of a link, with the same arguments except the link and the address.
  /// Returns its exit status.
  func run(_ place: Place) throws -> Int32 {
    let near: String
    let uri: String
    // One of 16384 networks of four addresses, from the range reserved for benchmarks.
    let number = Int(getpid()) % 16_384
    let network = "198.18.\(number / 64)."
    near = "\(network)\(number % 64 * 4 + 1)"
    switch place {
    case .unix: throw EndFailure("a UNIX socket has no link to it")
    case .tcp(_, let port): uri = "tcp:\(near):\(port)"
    case .tls(_, let port, _): uri = "tls:\(near):\(port)"
    }
    let (outside, inside) = ("\(name)h", "\(name)n")
    let steps: [(String, [String])] = [
      ("ip", ["netns", "add", name]),
      ("ip", ["link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name]),
      ("ip", ["address", "add", "\(near)/30", "dev", outside]),
      ("ip", ["link", "set", outside, "up"]),
      ("ip", ["-n", name, "address", "add", "\(network)\(number % 64 * 4 + 2)/30", "dev", inside]),
      ("ip", ["-n", name, "link", "set", inside, "up"]),
      ("tc", ["qdisc", "add", "dev", outside, "root"] + queue),
      ("tc", ["-n", name, "qdisc", "add", "dev", inside, "root"] + queue),
    ]
    // Deleting the namespace deletes its end of the pair, and with it the other end.
    defer { _ = Self.complaint("ip", ["netns", "delete", name]) }
    // An interrupt reaches the program at the far end too; this process cleans up.
    let signals = [SIGINT, SIGTERM, SIGHUP]
    for number in signals { signal(number, SIG_IGN) }
    for (tool, arguments) in steps {
      if let complaint = Self.complaint(tool, arguments) {
        throw EndFailure("\(tool) \(arguments.joined(separator: " ")): \(complaint)")
      }
    }
    let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().path
    let process = Process()
    process.executableURL = Self.find("ip")
    process.arguments = ["netns", "exec", name, own] + Self.rewritten(uri)
    try process.run()
    process.waitUntilExit()
    if process.terminationStatus != 0 {
      FileHandle.standardError.write(
        Data(
          "virtbench: over this link the server has to listen on \(near), best on all addresses\n"
            .utf8))
    }
    return process.terminationStatus
  }

  /// This program's arguments without the link and with another URI.
  private static func rewritten(_ uri: String) -> [String] {
    var arguments: [String] = []
    var isSkipping = false
    for word in CommandLine.arguments.dropFirst() {
      if isSkipping {
        isSkipping = false
      } else if word == "--netem" || word == "--uri" {
        isSkipping = true
      } else if !word.hasPrefix("--netem=") && !word.hasPrefix("--uri=") {
        arguments.append(word)
      }
    }
    return arguments + ["--uri", uri]
  }

  private static func find(_ tool: String) -> URL? {
    ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"].lazy.map { $0 + tool }
      .first { FileManager.default.isExecutableFile(atPath: $0) }.map { URL(fileURLWithPath: $0) }
  }

  /// Runs a tool. Returns its output if it failed.
  private static func complaint(_ tool: String, _ arguments: [String]) -> String? {
    guard let program = find(tool) else { return "there is no \(tool)" }
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    let said = Pipe()
    process.standardError = said
    process.standardOutput = FileHandle.nullDevice
    do { try process.run() } catch { return "\(error)" }
    let text = String(decoding: said.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return process.terminationStatus == 0
      ? nil : text.trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
