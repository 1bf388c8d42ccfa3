// The conditions of a measurement other than the measured programs.
import Foundation

/// The machine, and the versions of what was measured on it.
struct Machine: Codable, Equatable, Sendable {
  struct Version: Codable, Equatable, Sendable { var program, version: String }
  var processor: String
  var cores: Int
  var memoryMiB: UInt64
  var kernel: String
  /// The load average of the last minute: what else ran.
  var load: Double
  var versions: [Version]

  init(
    processor: String, cores: Int, memoryMiB: UInt64, kernel: String, load: Double,
    versions: [Version]
  ) {
    (self.processor, self.cores, self.memoryMiB) = (processor, cores, memoryMiB)
    (self.kernel, self.load, self.versions) = (kernel, load, versions)
  }

  /// The current state of this machine.
  init(_ programs: Peer.Programs) {
    let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = lines.split(separator: "\n").first { $0.hasPrefix("model name") }
    processor =
      line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) }
      ?? "an unnamed processor"
    cores = ProcessInfo.processInfo.activeProcessorCount
    memoryMiB = ProcessInfo.processInfo.physicalMemory >> 20
    kernel =
      (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8))?
      .trimmingCharacters(in: .whitespacesAndNewlines) ?? "?"
    let loads = (try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8)) ?? ""
    load = loads.split(separator: " ").first.flatMap { Double($0) } ?? 0
    versions = [
      Self.version("virtbrokerd", Program.executable(programs.broker), "--version"),
      Self.version("haproxy", Program.find("haproxy"), "-v"),
      Self.version("socat", Program.find("socat"), "-V", line: "socat version"),
      Self.version("libvirtd", Program.find("libvirtd"), "--version"),
      Self.version(
        "virtproxyd", programs.virtproxyd ?? Program.find("virtproxyd"), "--version",
        libraries: programs.virtproxydLibraryPath),
      Self.version("virsh", Program.find("virsh"), "--version"),
    ].compactMap { $0 }
  }

  private static func version(
    _ name: String, _ path: String?, _ option: String, line start: String = "",
    libraries: String? = nil
  ) -> Version? {
    let assignment = libraries.map { ["LD_LIBRARY_PATH=\($0)"] } ?? []
    guard let path, let said = try? Program.run("/usr/bin/env", assignment + [path, option]) else {
      return nil
    }
    guard let line = said.split(separator: "\n").first(where: { $0.hasPrefix(start) }) else {
      return nil
    }
    return Version(program: name, version: pick(String(line)))
  }

  /// The first word of a line that begins with a digit: the version in "HAProxy version 2.6.12-1 2025/01/01" is
  /// 2.6.12-1.
  static func pick(_ line: String) -> String {
    line.split(separator: " ").first { $0.first?.isNumber == true }.map(String.init) ?? line
  }
}
