// The channel and the memory of a handover, with the kernel's sockets and files.
import Glibc
import Streams
import Testing

@testable import Broker

@Suite("handover channel")
struct HandoverChannelTests {
  private static let messages: [HandoverMessage] = [
    .hello(1...7), .snapshot(batches: 36), .descriptors(35), .received(0), .ready,
    .refused("bad configuration: /etc/libvirt/virtbrokerd.conf:12"), .commit,
  ]

  @Test("each message arrives as it was sent")
  func messages() throws {
    let (one, other) = try HandoverChannel.pair()
    for message in HandoverChannelTests.messages {
      #expect(one.send(message) == nil)
      guard case .message(message, []) = other.receive() else {
        Issue.record("\(message) did not arrive")
        continue
      }
    }
    guard case .nothing = other.receive() else {
      Issue.record("something arrived that was not sent")
      return
    }
  }

  @Test("descriptors arrive in their order, close-on-exec, as many as a message may have")
  func descriptors() throws {
    let (one, other) = try HandoverChannel.pair()
    let files = (0..<HandoverChannel.mostDescriptors).map { _ in SnapshotMemory.make().release() }
    defer { for file in files { close(file) } }
    #expect(one.send(.descriptors(0), files[...]) == nil)
    guard case .message(.descriptors(0), let received) = other.receive() else {
      Issue.record("the descriptors did not arrive")
      return
    }
    defer { for file in received { close(file) } }
    #expect(received.map(HandoverChannelTests.inode) == files.map(HandoverChannelTests.inode))
    #expect(received.allSatisfy { fcntl($0, F_GETFD) & FD_CLOEXEC != 0 })
  }

  private static func inode(_ descriptor: Int32) -> UInt {
    var status = stat()
    fstat(descriptor, &status)
    return UInt(status.st_ino)
  }

  @Test("more descriptors than the kernel passes are not sent")
  func tooMany() throws {
    let (one, other) = try HandoverChannel.pair()
    let file = SnapshotMemory.make().release()
    defer { close(file) }
    let files = [Int32](repeating: file, count: HandoverChannel.mostDescriptors + 1)
    #expect(one.send(.descriptors(0), files[...])?.has(.handoverNotSent) == true)
    guard case .nothing = other.receive() else {
      Issue.record("a part of them was sent")
      return
    }
  }

  @Test("bytes that are no message are refused, and their descriptors are closed")
  func invalid() throws {
    let (one, other) = try HandoverChannel.pair()
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    defer { close(ends[0]) }
    #expect(one.send(bytes: [9, 9, 9], ends[1...]) == nil)
    close(ends[1])
    guard case .invalid(let reason) = other.receive() else {
      Issue.record("it is accepted")
      return
    }
    #expect(reason.identifiers == ["VB-SNAP-002"])
    // Nobody has the other end of the pipe any more.
    var byte: UInt8 = 0
    #expect(read(ends[0], &byte, 1) == 0)
    for message in HandoverChannelTests.messages {
      for length in 0..<message.bytes.count {
        #expect(throws: Violation.self) {
          try HandoverMessage(Array(message.bytes.prefix(length)))
        }
      }
    }
  }

  @Test("the end of the other process is seen behind what it has sent")
  func closed() throws {
    let (one, other) = try HandoverChannel.pair()
    var sender: HandoverChannel? = one
    #expect(sender?.send(.commit) == nil)
    sender = nil
    withExtendedLifetime(other) {
      guard case .message(.commit, []) = other.receive() else {
        Issue.record("the message is lost")
        return
      }
    }
  }
}

@Suite("snapshot memory")
struct SnapshotMemoryTests {
  private static let content = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }

  @Test("what is written is read, with its version")
  func roundTrip() throws {
    for content in [[], SnapshotMemoryTests.content] {
      let memory = try SnapshotMemory.write(content, version: 3)
      let (read, version) = try SnapshotMemory.read(memory.number)
      #expect(read == content)
      #expect(version == 3)
    }
  }

  @Test("nobody can change it")
  func sealed() throws {
    let memory = try SnapshotMemory.write([1, 2, 3], version: 1)
    #expect(pwrite(memory.number, [9], 1, 60) == -1 && errno == EPERM)
    #expect(ftruncate(memory.number, 10) == -1 && errno == EPERM)
  }

  @Test("memory that can be changed, a flipped bit and a missing end are refused")
  func damaged() throws {
    let memory = try SnapshotMemory.write(SnapshotMemoryTests.content, version: 1)
    var status = stat()
    fstat(memory.number, &status)
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    #expect(pread(memory.number, &bytes, bytes.count, 0) == bytes.count)
    func refusal(_ bytes: [UInt8], sealed: Bool = true) -> Message? {
      let copy = SnapshotMemory.make()
      #expect(write(copy.number, bytes, bytes.count) == bytes.count)
      if sealed { #expect(fcntl(copy.number, 1033, 15) == 0) }
      do throws(Message) {
        _ = try SnapshotMemory.read(copy.number)
        return nil
      } catch {
        return error
      }
    }
    #expect(refusal(bytes) == nil)
    #expect(refusal(bytes, sealed: false)?.has(MessageDefinition.snapshotNotSealed) == true)
    // The version alone is not covered: the reader knows it or does not.
    for place in [0, 7, 12, 19, 20, 51, 52, bytes.count - 1] {
      var flipped = bytes
      flipped[place] ^= 0x10
      #expect(refusal(flipped)?.has(MessageDefinition.snapshotDamaged) == true, "byte \(place)")
    }
    for length in [0, 10, 51, bytes.count - 1] {
      #expect(
        refusal(Array(bytes.prefix(length)))?.has(MessageDefinition.snapshotDamaged) == true,
        "\(length) bytes")
    }
  }
}
