// Sequences of virsh commands, and the parts of their output that differ between two runs.
import Foundation
import Testing

/// Commands that restore the initial state, so that they can run again over another connection.
struct Scenario: Sendable, CustomTestStringConvertible {
  let name: String
  let lines: [Line]
  var testDescription: String { name }

  /// One command, and the driver whose daemon serves it.
  struct Line: Sendable {
    let driver: String
    let words: [String]
  }

  /// `text` has one line for each command: the driver, then virsh's arguments. `$DIR` is a directory with the files
  /// of `Fixtures`, always the same.
  init(_ name: String, _ text: String) {
    self.name = name
    lines = text.split(separator: "\n").map { line in
      let words = line.split(separator: " ").map(String.init)
      return Line(driver: words[0], words: Array(words.dropFirst()))
    }
  }

  /// Runs every command on the URI that `uri` gives for its driver.
  func run(in directory: String, options: [String] = [], uri: (String) -> String) async throws
    -> [CommandResult]
  {
    var results: [CommandResult] = []
    for line in lines {
      let words = line.words.map { $0.replacing("$DIR", with: directory) }
      let result = try await virsh(uri(line.driver), options + words)
      results.append(
        CommandResult(
          status: result.status, output: Self.comparable(result.output),
          errors: Self.comparable(result.errors)))
    }
    return results
  }

  /// The text without the parts that differ between any two runs.
  static func comparable(_ text: String) -> String {
    var text = text
    // Processor time grows while the guest runs (dominfo, vcpuinfo).
    text.replace(#/(CPU time: +)[0-9.]+s/#) { "\($0.output.1)…" }
    // The processor on which the guest last ran (vcpuinfo).
    text.replace(#/(CPU: +)\d+\n/#) { "\($0.output.1)…\n" }
    // Clocks: the creation of a snapshot, and the node's time.
    text.replace(#/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+]\d{4}/#) { _ in "…" }
    text.replace(#/<creationTime>\d+</creationTime>/#) { _ in "…" }
    // The free space of a pool's file system depends on what else runs (pool-info, pool-dumpxml).
    if text.contains("Available:") {
      text.replace(#/((Allocation|Available): +)[0-9.]+ [KMGT]?i?B/#) { "\($0.output.1)…" }
    }
    if text.hasPrefix("<pool") {
      text.replace(#/<(allocation|available) unit='bytes'>\d+</#) { "<\($0.output.1)>…<" }
    }
    // The same for the node's free memory (freecell).
    text.replace(#/((Total|0): +)\d+ KiB/#) { "\($0.output.1)…" }
    // The memory of a machine that is itself a guest may change (nodeinfo, capabilities).
    text.replace(#/(Memory size: +)\d+ KiB/#) { "\($0.output.1)…" }
    if text.hasPrefix("<capabilities") {
      text.replace(#/<(memory|pages)( [^>]*)>\d+</#) { "<\($0.output.1)\($0.output.2)>…<" }
    }
    // The times of the volume's file (vol-dumpxml).
    text.replace(#/<(.time)>[0-9.]+</#) { "<\($0.output.1)>…<" }
    // libvirt numbers its commands to QEMU (qemu-monitor-command).
    text.replace(#/"id": "libvirt-\d+"/#) { _ in "…" }
    // The current speed of the machine's processors.
    text.replace(#/(CPU frequency: +)\d+ MHz/#) { "\($0.output.1)…" }
    return text
  }
}

/// The files that the commands name.
enum Fixtures {
  static func write(to directory: String) async throws {
    try FileManager.default.createDirectory(
      atPath: directory + "/pool", withIntermediateDirectories: true)
    for (name, text) in files {
      try text.replacing("$DIR", with: directory)
        .write(toFile: "\(directory)/\(name)", atomically: false, encoding: .utf8)
    }
    try await Command("qemu-img", "create", "-q", "-f", "qcow2", directory + "/disk.qcow2", "1M")
      .output()
  }

  private static let files = [
    "plain.xml": """
    <domain type='qemu'>
      <name>plain</name>
      <uuid>9c7b6b1e-51a5-4cb5-8d52-6d1f4b7a2c01</uuid>
      <memory unit='MiB'>16</memory>
      <vcpu>2</vcpu>
      <os><type arch='x86_64' machine='pc'>hvm</type></os>
      <devices>
        <emulator>/usr/bin/qemu-system-x86_64</emulator>
        <disk type='file' device='disk'>
          <driver name='qemu' type='qcow2'/><source file='$DIR/disk.qcow2'/>
          <target dev='hda' bus='ide'/>
        </disk>
        <serial type='pty'/>
        <controller type='usb' model='none'/>
        <memballoon model='none'/>
      </devices>
    </domain>
    """,
    "cdrom.xml": """
    <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
    """,
    "broken.xml": "<domain type='qemu'><name>broken</name>",
    "nodevice.xml": "<disk type='file' device='disk'><target dev='hdz'/></disk>",
    "snapshot.xml":
      "<domainsnapshot><name>two</name><description>twice</description></domainsnapshot>",
    "volume.xml": """
    <volume><name>three</name><capacity unit='KiB'>64</capacity><target><format type='raw'/></target></volume>
    """,
    "pool.xml": """
    <pool type='dir'><name>defined</name><uuid>2f6de1c1-9f3c-4c3f-9e0b-3a0f6f1f7a02</uuid>
    <target><path>$DIR/pool</path></target></pool>
    """,
    // Without an address, so the lab needs no dnsmasq.
    "network.xml": """
    <network><name>quiet</name><uuid>5a3a6a44-3f0f-4a55-9a0f-b2e4a6a14c03</uuid>
    <bridge name='vbparity0'/><mac address='52:54:00:11:22:33'/></network>
    """,
    "transient.xml": """
    <network><name>passing</name><uuid>5a3a6a44-3f0f-4a55-9a0f-b2e4a6a14c04</uuid>
    <bridge name='vbparity1'/><mac address='52:54:00:11:22:34'/></network>
    """,
    "portgroup.xml": "<portgroup name='lab'/>",
    "port.xml": """
    <networkport><uuid>7d1c1e2b-8a3f-4b7e-8a55-0d6a2c7e9f05</uuid>
    <owner><name>nobody</name><uuid>7d1c1e2b-8a3f-4b7e-8a55-0d6a2c7e9f06</uuid></owner>
    <mac address='52:54:00:11:22:35'/></networkport>
    """,
    "secret.xml": """
    <secret ephemeral='yes' private='no'><uuid>0b5a2f0e-4a0e-4f5c-9bb5-2b8a3a6e8d07</uuid>
    <description>for the tests</description><usage type='ceph'><name>client.test secret</name></usage></secret>
    """,
    "filter.xml": """
    <filter name='nothing-out' chain='root'><uuid>8e2f0f7a-0e7b-4c43-9d0c-5f2d6a8c1b08</uuid>
    <rule action='drop' direction='out' priority='500'/></filter>
    """,
    "bridge.xml": "<interface type='bridge' name='br7'><bridge/></interface>",
    "cpu.xml": "<cpu><arch>x86_64</arch><model>qemu64</model></cpu>",
  ]
}
