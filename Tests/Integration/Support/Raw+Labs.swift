// The connections of raw clients: through the broker, or directly.
import Foundation
import Streams
import Testing

extension BrokerProcess {
  /// A raw client of the broker.
  func client(_ way: Way = .unix, readOnly: Bool = false) throws -> RawClient {
    switch way {
    case .unix: try RawClient(unix: directory + (readOnly ? "/libvirt-sock-ro" : "/libvirt-sock"))
    case .tcp: try RawClient(tcp: port)
    }
  }

  /// The maximum of its resident memory, in bytes.
  var peakBytes: Int {
    let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
  }
}

extension Lab {
  /// A raw client with a direct connection to a daemon.
  func client(of daemon: String = "libvirtd") throws -> RawClient {
    try RawClient(unix: "\(sockets)/\(daemon == "libvirtd" ? "libvirt" : daemon)-sock")
  }
}

/// Polls until `holds` is true. Returns false if it is not within the time limit.
func eventually(within seconds: Double = 20, _ holds: () throws -> Bool) rethrows -> Bool {
  let end = Date(timeIntervalSinceNow: seconds)
  repeat {
    if try holds() { return true }
    usleep(5000)
  } while Date() < end
  return try holds()
}

/// Open descriptors of a process.
func descriptorCount(of process: pid_t) -> Int {
  (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count) ?? -1
}

/// The number of a process's descriptors once it is stable: a client may just be disconnecting.
func settledDescriptorCount(of process: pid_t) -> Int {
  var count = -1
  _ = eventually {
    usleep(100_000)
    defer { count = descriptorCount(of: process) }
    return count == descriptorCount(of: process)
  }
  return count
}
