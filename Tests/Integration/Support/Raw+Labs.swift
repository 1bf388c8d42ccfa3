// Where raw clients connect: through the broker, or past it.
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

  /// The most memory it ever had resident, in bytes.
  var peakBytes: Int {
    let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
  }
}

extension Lab {
  /// A raw client of a daemon itself.
  func client(of daemon: String = "libvirtd") throws -> RawClient {
    try RawClient(unix: "\(sockets)/\(daemon == "libvirtd" ? "libvirt" : daemon)-sock")
  }
}

/// Waits until something holds, looking often; false if it never does.
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

/// The count of a process's descriptors once it no longer changes: somebody may be leaving just now.
func settledDescriptorCount(of process: pid_t) -> Int {
  var count = -1
  _ = eventually {
    usleep(100_000)
    defer { count = descriptorCount(of: process) }
    return count == descriptorCount(of: process)
  }
  return count
}
