// The names of the broker's UNIX sockets, and how clients find them.
import Foundation
import Streams
import Testing

@Suite("The broker's UNIX sockets", Lab.isPossible, .inTurn)
struct SocketNameTests {
  @Test(
    "if libvirtd listens on libvirt's names, the broker uses other names, says so, and leaves libvirtd's alone"
  )
  func beside() async throws {
    let directory = try Scratch.directory("u")
    let held = Held()
    let libvirtd = try ScriptedBackend(in: directory) { held.keep($0, $1) }
    let broker = try await BrokerProcess.start(
      backends: directory, settings: ["unix_sock_dir = \"\(directory)\""])
    #expect(
      eventually {
        broker.log.contains(
          "VB-START-003: \(directory)/libvirt-sock is in use by another process; the broker's own "
            + "sockets are virtbroker-sock, virtbroker-sock-ro and virtbroker-admin-sock")
      })
    // To libvirtd through the broker, on both sockets, and directly.
    for name in ["virtbroker-sock", "virtbroker-sock-ro", "libvirt-sock"] {
      let client = try RawClient(unix: "\(directory)/\(name)")
      try client.open()
    }
    #expect(libvirtd.lines.count >= 3)
    try await broker.stop()
    #expect(BrokerProcess.accepts(unix: directory + "/libvirt-sock"))
    #expect(!FileManager.default.fileExists(atPath: directory + "/virtbroker-sock"))
  }

  @Test("a stale socket is removed, and permissions and group are as configured")
  func stale() async throws {
    let directory = try Scratch.directory("u")
    for name in ["libvirt-sock", "libvirt-sock-ro"] {
      try await Command(
        "/usr/bin/python3", "-c",
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])",
        "\(directory)/\(name)"
      ).output()
    }
    let broker = try await BrokerProcess.start(
      backends: try Scratch.directory("n"),
      settings: [
        "unix_sock_dir = \"\(directory)\"", "unix_sock_group = \"nogroup\"",
        "unix_sock_rw_perms = \"0770\"", "unix_sock_ro_perms = \"0707\"",
        "unix_sock_admin_perms = \"0760\"",
      ])
    #expect(BrokerProcess.accepts(unix: directory + "/libvirt-sock"))
    let look = try await Command(
      "stat", "-c", "%a %G", directory + "/libvirt-sock", directory + "/libvirt-sock-ro",
      directory + "/libvirt-admin-sock"
    ).output()
    #expect(look == "770 nogroup\n707 nogroup\n760 nogroup\n")
    try await broker.stop()
  }

  @Test("clients over ssh find the broker, with netcat and with virt-ssh-helper")
  func ssh() async throws {
    let lab = try await Lab.shared(.modular)
    let broker = try await BrokerProcess.start(in: lab)
    let server = try await SSHServer.start(inside: [
      "unshare", "--mount", "sh", "-c",
      "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir /run/libvirt && "
        + "mount --bind \(broker.directory) /run/libvirt && exec \"$@\"", "sh",
    ])
    // The host keys that virsh stores are removed with the test.
    let program = server.directory + "/ssh"
    try "#!/bin/sh\nexec ssh -o UserKnownHostsFile=\(server.knownHosts) \"$@\"\n".write(
      toFile: program, atomically: false, encoding: .utf8)
    chmod(program, 0o700)
    for options in ["proxy=netcat", "proxy=native&mode=legacy", "proxy=auto&mode=legacy"] {
      for option in [[], ["-r"]] {
        let uri =
          "qemu+ssh://root@127.0.0.1:\(server.port)/system?keyfile=\(server.key)&no_tty=1"
          + "&command=\(program)&\(options)"
        let before = broker.log.count
        let result = try await virsh(uri, option + ["pool-list", "--all"])
        #expect(result.status == 0, "\(options): \(result.errors) \(server.log)")
        let socket =
          "connected to \(broker.directory)/libvirt-sock\(option.isEmpty ? "\n" : "-ro\n")"
        #expect(broker.log.dropFirst(before).contains(socket), "\(options)")
      }
    }
    try await broker.stop()
  }
}
