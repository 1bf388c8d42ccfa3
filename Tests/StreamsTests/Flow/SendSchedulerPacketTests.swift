// Packets that are sent while they still arrive, descriptors after packets, and closed sockets.
import Testing

@testable import Simulator
@testable import Streams

@Suite("send scheduler: packets stay whole")
struct SendSchedulerPacketTests {
  /// A packet that announces descriptors, without its carriers.
  private func carrying(_ count: Int, padding: Int = 0) -> [UInt8] {
    Stamp.packet(
      PacketHeader(procedure: 0, kind: .replyWithDescriptors, serial: 0),
      Stamp.bytes(UInt32(count), padding: padding))
  }

  @Test(
    "the rest of a packet that still arrives is sent before anything else", arguments: [1, 28, 99])
  func cutThrough(begun: Int) {
    let exit = Exit(sendQueues: 2)
    let large = sendQueuePacket(0, 0, 100)
    exit.put(0, Array(large[..<max(begun, 28)]))
    exit.sendQueues[0].unfinished = 100 - max(begun, 28)
    exit.flush(begun)
    exit.put(1, sendQueuePacket(1, 0))
    exit.flush()
    #expect(exit.sendQueues[0].isMidway)
    #expect(!exit.hasWork, "another packet waits, but not in the middle of this one")
    #expect(exit.flush() == .moved(0))
    exit.put(0, Array(large[max(begun, 28)...]) + sendQueuePacket(0, 1))
    exit.sendQueues[0].unfinished = 0
    #expect(exit.hasWork)
    exit.flush()
    let found = sendQueuePackets(exit.socket.takeBytes())
    #expect(found?.first.map { $0.sendQueue == 0 && $0.length == 100 } == true)
    #expect(found?.count == 3)
  }

  @Test("descriptors follow their packet at once, each in a send of its own", arguments: 0...60)
  func carriers(room: Int) {
    let exit = Exit(sendQueues: 2)
    let packet = carrying(2, padding: 20)
    exit.put(0, packet)
    exit.sendQueues[0].queue.append(descriptor: 50)
    exit.sendQueues[0].queue.append(descriptor: 51)
    exit.put(0, sendQueuePacket(0, 1))
    // Queue 0 sends. The socket becomes full at some byte, and queue 1 has small packets.
    exit.flush(min(room, 1))
    exit.put(1, sendQueuePacket(1, 0))
    exit.put(1, sendQueuePacket(1, 1))
    exit.flush(room)
    exit.flush()
    var sent: [PiecedTransport.Sent] = []
    var bytes: [UInt8] = []
    for piece in exit.socket.sent {
      if case .bytes(let more) = piece { bytes += more } else { sent.append(piece) }
    }
    #expect(sent == [.descriptor(50), .descriptor(51)])
    #expect(exit.socket.discarded == [50, 51], "a descriptor that was sent is no longer ours")
    let all = exit.socket.takeBytes()
    let at = all.indices.dropLast(packet.count - 1).first {
      all[$0..<$0 + packet.count].elementsEqual(packet)
    }
    let behind = (at ?? 0) + packet.count
    #expect(at != nil)
    #expect(all[behind..<min(behind + 2, all.count)].elementsEqual([0, 0]))
    #expect(sendQueuePackets(Array(all[(behind + 2)...]))?.isEmpty == false)
  }

  @Test("nothing is sent between a packet that was cut through and its descriptors")
  func cutThroughCarriers() {
    let exit = Exit(sendQueues: 2)
    let packet = carrying(2, padding: 100)
    exit.put(0, Array(packet[..<50]))
    exit.sendQueues[0].unfinished = packet.count - 50 + 2
    exit.flush()
    exit.put(1, sendQueuePacket(1, 0))
    exit.put(0, Array(packet[50...]))
    exit.sendQueues[0].queue.append(descriptor: 50)
    exit.sendQueues[0].queue.append(descriptor: 51)
    exit.sendQueues[0].unfinished = 0
    // The socket is full after the packet.
    exit.flush(packet.count - 50)
    exit.flush()
    let sent = exit.socket.takeBytes()
    #expect(difference(sent, packet + [0, 0] + sendQueuePacket(1, 0)) == nil)
  }

  @Test("a descriptor that the socket did not accept stays queued, and the queue closes it")
  func refused() {
    let exit = Exit(sendQueues: 1)
    exit.put(0, carrying(1))
    exit.sendQueues[0].queue.append(descriptor: 50)
    exit.flush(32)
    #expect(exit.isBlocked)
    #expect(exit.socket.discarded.isEmpty)
    #expect(exit.hasWork)
    exit.remove(0)
    #expect(exit.socket.discarded == [50])
    #expect(!exit.hasWork)
    #expect(exit.pool.heldCount == 0)
  }

  @Test("after a partial send the socket is not tried again until it is ready")
  func blocked() {
    let exit = Exit(sendQueues: 1)
    exit.put(0, sendQueuePacket(0, 0, 100))
    #expect(exit.flush(60) == .moved(60))
    #expect(exit.isBlocked)
    #expect(exit.scheduler.blockedOn == .write)
    exit.socket.room = .max
    #expect(exit.scheduler.flush(to: exit.socket) == .moved(0))
    #expect(exit.flush() == .moved(40))
    #expect(!exit.isBlocked)
  }

  @Test("a budget ends a flush before the socket is full")
  func budget() {
    let exit = Exit(sendQueues: 1)
    exit.put(0, sendQueuePacket(0, 0, 100))
    #expect(exit.flush(budget: 70) == .moved(70))
    #expect(!exit.isBlocked)
    #expect(exit.hasWork)
    #expect(exit.sendQueues[0].isMidway)
    #expect(exit.flush() == .moved(30))
  }

  @Test("a flush returns the outcome of its failed send", arguments: [Outcome.failed(32), .end])
  func ends(outcome: Outcome) {
    let pool = SegmentPool(capacity: 256)
    let sendQueue = SendQueue(pool: pool)
    let socket = EndedTransport(outcome)
    var scheduler = SendScheduler(pool: pool)
    scheduler.add(sendQueue)
    sendQueuePacket(0, 0).withUnsafeBytes { sendQueue.queue.append(copying: $0) }
    let found = scheduler.flush(to: socket)
    #expect(found == outcome)
    scheduler.remove(sendQueue, socket)
    #expect(pool.heldCount == 0)
  }

  /// A socket whose sends fail.
  private final class EndedTransport: Transport {
    let outcome: Outcome
    let carriesDescriptors = false
    init(_ outcome: Outcome) { self.outcome = outcome }
    func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
      outcome
    }
    func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome { outcome }
    func send(descriptor: Int32) -> Outcome { outcome }
    func discard(descriptor: Int32) {}
  }
}
