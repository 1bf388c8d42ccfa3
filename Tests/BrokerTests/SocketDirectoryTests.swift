// Which daemon's socket a client's URI leads to.
import Testing

@testable import Broker
@testable import Streams

@Suite("Daemons' sockets")
struct SocketDirectoryTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func directory(privileged: Bool = true, own: [String] = []) -> SocketDirectory {
    var settings = BackendSettings()
    settings.systemDirectory = scratch.path
    return SocketDirectory(settings: settings, isPrivileged: privileged, ownSockets: own)
  }

  private func opened(_ name: String?, readOnly: Bool = false) throws -> Backend {
    try directory().backend(for: name, readOnly: readOnly).get()
  }

  @Test("the modular daemon is preferred; the monolithic one is used where it is absent")
  func modularFirst() throws {
    scratch.touch("libvirt-sock")
    #expect(try opened("qemu:///system").path == scratch.path + "/libvirt-sock")
    #expect(try opened("qemu:///system").servesAll)
    scratch.touch("virtqemud-sock")
    #expect(try opened("qemu:///system").path == scratch.path + "/virtqemud-sock")
    #expect(try opened("qemu:///system").daemon == "virtqemud")
    #expect(try !opened("qemu:///system").servesAll)
    #expect(try opened("test:///default").daemon == "libvirtd")
  }

  @Test("a read-only client gets the read-only socket, or the read-write one where there is none")
  func readOnly() throws {
    scratch.touch("virtqemud-sock")
    #expect(try opened("qemu:///system", readOnly: true).path.hasSuffix("/virtqemud-sock"))
    scratch.touch("virtqemud-sock-ro")
    #expect(try opened("qemu:///system", readOnly: true).path.hasSuffix("/virtqemud-sock-ro"))
    #expect(try opened("qemu:///system").path.hasSuffix("/virtqemud-sock"))
  }

  @Test("the error for an absent daemon has its socket and the kernel's message")
  func absent() throws {
    guard case .failure(let error) = directory().backend(for: "qemu:///system", readOnly: false)
    else {
      Issue.record("there is no daemon to open")
      return
    }
    #expect(error.code == .systemError)
    #expect(error.int1 == 2)
    #expect(
      error.message
        == "Failed to connect socket to '\(scratch.path)/virtqemud-sock': No such file or directory"
    )
  }

  @Test(
    "only a monolithic daemon serves a driver of libvirt's library, and the error says so")
  func libraryDrivers() throws {
    scratch.touch("virtqemud-sock")
    guard case .failure(let error) = directory().backend(for: "test:///default", readOnly: false)
    else {
      Issue.record("virtqemud has no test driver")
      return
    }
    #expect(error.code == .noConnect)
    #expect(
      error.message
        == "no connection driver available for test:///default: only a monolithic libvirtd has this driver"
    )
  }

  @Test("an empty URI is probed in libvirt's order and falls back to a monolithic daemon")
  func probing() throws {
    guard case .failure(let error) = directory().backend(for: nil, readOnly: false) else {
      Issue.record("there is no daemon to find")
      return
    }
    #expect(error.message == "internal error: connection not open")
    scratch.touch("libvirt-sock")
    #expect(try opened("").uri == "")
    #expect(try opened(nil).daemon == "libvirtd")
    scratch.touch("virtlxcd-sock")
    #expect(try opened(nil).uri == "lxc:///system")
    scratch.touch("virtqemud-sock")
    #expect(try opened(nil).uri == "qemu:///system")
    scratch.touch("virtxend-sock")
    #expect(try opened(nil).uri == "xen:///system")
  }

  @Test("a driver's own daemon serves its calls only beside a modular hypervisor daemon")
  func drivers() throws {
    scratch.touch("virtqemud-sock")
    scratch.touch("virtvboxd-sock")
    let qemu = try opened("qemu:///system")
    #expect(directory().backend(for: .storage, beside: qemu, readOnly: false) == nil)
    for name in ["storage", "network", "nodedev", "interface", "secret", "nwfilter"] {
      scratch.touch("virt\(name)d-sock")
    }
    let expected: [(Driver, String)] = [
      (.storage, "storage"), (.network, "network"), (.nodeDevice, "nodedev"),
      (.interface, "interface"),
      (.secret, "secret"), (.nwfilter, "nwfilter"),
    ]
    for (driver, name) in expected {
      let own = directory().backend(for: driver, beside: qemu, readOnly: false)
      #expect(own?.path == "\(scratch.path)/virt\(name)d-sock")
      #expect(own?.uri == "\(name):///system")
    }
    #expect(directory().backend(for: .hypervisor, beside: qemu, readOnly: false) == nil)
    // VirtualBox has its own storage and networks, which virtstoraged does not manage.
    let vbox = try opened("vbox:///system")
    #expect(directory().backend(for: .storage, beside: vbox, readOnly: false) == nil)
  }

  @Test("the broker's own socket is never used as a backend")
  func ownSocket() throws {
    let own = scratch.touch("libvirt-sock")
    let directory = directory(own: [own])
    for name in ["qemu:///system", "test:///default", ""] {
      guard case .failure = directory.backend(for: name, readOnly: false) else {
        Issue.record("'\(name)' would open the broker itself")
        return
      }
    }
  }
}
