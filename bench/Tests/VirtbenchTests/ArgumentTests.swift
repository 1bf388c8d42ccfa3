// The arguments that compare accepts and refuses.
import ArgumentParser
import Ends
import Foundation
import Testing

@testable import virtbench

@Suite("Arguments of compare")
struct ArgumentTests {
  @Test("a peer has a name, an address and optionally a process")
  func peers() throws {
    let tcp = try #require(PeerArgument("virtproxyd-12=tcp:127.0.0.1:16509,pid=4711"))
    #expect(tcp.name == "virtproxyd-12" && tcp.process == 4711)
    #expect("\(tcp.place)" == "tcp:127.0.0.1:16509")
    let unix = try #require(PeerArgument("mine=unix:/run/libvirt/libvirt-sock"))
    #expect(unix.process == nil && "\(unix.place)" == "unix:/run/libvirt/libvirt-sock")
    let strange = try #require(PeerArgument("x=unix:/a,pid=b=c/sock,pid=1"))
    #expect(strange.process == 1 && "\(strange.place)" == "unix:/a,pid=b=c/sock")
    let six = try #require(PeerArgument("six=tcp:[::1]:16509"))
    #expect("\(six.place)" == "tcp:[::1]:16509")
  }

  @Test(
    "an invalid peer is refused",
    arguments: [
      "", "=", "name", "name=", "=tcp:a:1", "na me=tcp:a:1", "a|b=tcp:a:1", "ü=tcp:a:1",
      "n=tcp:a:1,pid=", "n=tcp:a:1,pid=0", "n=tcp:a:1,pid=-1", "n=tcp:a:1,pid=+1",
      "n=tcp:a:1,pid=x", "n=tcp:a:1,pid=99999999999999999999", "n=unix:", "n=http://a",
      String(repeating: "n", count: 41) + "=tcp:a:1",
    ])
  func noPeers(text: String) {
    #expect(PeerArgument(text) == nil)
  }

  private func parse(_ arguments: String...) throws -> CompareCommand {
    try CompareCommand.parse(arguments)
  }

  @Test("the words of a list are separated by commas")
  func lists() throws {
    let command = try parse("--measure", "upload,download", "--peers", "direct,limit,socat")
    #expect(command.measure?.words == ["upload", "download"])
    #expect(
      try command.measure?.chosen(from: ["download", "call", "upload"], option: "--measure")
        == ["download", "upload"])
  }

  @Test("every measurement and every peer can be selected by name")
  func every() throws {
    for name in Loads.names(
      Loads.all(Amounts(streamBytes: 1, callSeconds: 1, clientBytes: 1)))
    {
      _ = try parse("--measure", name)
    }
    for peer in Peer.allCases {
      _ = try parse("--peers", peer.rawValue, "--baseline", peer.rawValue)
    }
  }

  @Test(
    "an invalid argument is refused before anything is started, and the message describes it",
    arguments: [
      (["--measure", "downlaod"], "there is no downlaod; there are download, upload"),
      (["--measure", "download,,"], "--measure"),
      (["--peers", "nginx"], "there is no nginx; there are direct"),
      (["--baseline", "nginx"], "--baseline nginx is not among the peers direct"),
      (["--peers", "direct", "--baseline", "limit"], "--baseline limit is not among"),
      (["--peer", "limit=tcp:a:1"], "--peer limit: there is another peer of that name"),
      (["--peer", "a=tcp:a:1", "--peer", "a=tcp:b:1"], "there is another peer of that name"),
      (["--peer", "a=b"], "--peer"),
      (["--rounds", "0"], "--rounds must be 1 to 1000"),
      (["--mib", "0"], "--mib must be"),
      (["--mib", "18446744073709551615"], "--mib must be"),
      (["--client-mib", "0"], "--client-mib must be"),
      (["--seconds", "nan"], "--seconds must be"),
      (["--minutes", "0"], "--minutes must be"),
      (["--minutes", "nan"], "--minutes must be"),
      (["--name", "../x"], "--name may have"),
      (["--virtproxyd-library-path", "/dev/null"], "there is no /dev/null/libvirt.so.0"),
    ])
  func mistakes(arguments: [String], message: String) {
    do {
      _ = try CompareCommand.parse(arguments)
      Issue.record("\(arguments) was accepted")
    } catch {
      let said = CompareCommand.message(for: error)
      #expect(said.contains(message), "it said: \(said)")
    }
  }

  @Test("the version is found in a program's output")
  func versions() {
    #expect(
      Machine.pick("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://x") == "2.6.12-1+deb12u4")
    #expect(Machine.pick("socat version 1.7.4.4 on 06 Nov 2022") == "1.7.4.4")
    #expect(Machine.pick("libvirtd (libvirt) 9.0.0") == "9.0.0")
    #expect(Machine.pick("unknown") == "unknown")
  }
}

@Suite("The version of virtbench")
struct VersionTests {
  @Test("--version prints the versions of the program, the project and GnuTLS")
  func version() throws {
    let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("virtbench").path
    let lines = try Program.run(program, ["--version"]).split(separator: "\n")
    #expect(lines.first == "virtbench (virtbroker) \(EndsVersion.text)")
    #expect(lines.last?.firstMatch(of: /^GnuTLS [0-9]+\.[0-9]+/) != nil)
  }
}
