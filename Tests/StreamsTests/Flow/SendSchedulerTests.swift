// The send scheduler: queues of packets, and the choice of the next queue.
import Testing

@testable import Simulator
@testable import Streams

@Suite("send scheduler")
struct SendSchedulerTests {
  @Test("packets of one queue are sent in order, in one send where the socket accepts it")
  func order() {
    let exit = Exit(sendQueues: 1)
    let bytes = (0..<50).flatMap { sendQueuePacket(0, $0, 28 + $0) }
    exit.put(0, bytes)
    #expect(exit.flush() == .moved(bytes.count))
    #expect(exit.socket.sent == [.bytes(bytes)])
    #expect(!exit.hasWork)
    #expect(exit.pool.heldCount == 0)
  }

  @Test(
    "packets of several queues never mix, and each queue keeps its order",
    arguments: 0..<300 as Range<UInt64>)
  func whole(seed: UInt64) throws {
    var random = Seed(seed)
    let exit = Exit(sendQueues: 3)
    var counts = [0, 0, 0]
    for _ in 0..<200 {
      let sendQueue = random.pick(0...2)
      for _ in 0..<random.pick(0...3) {
        let length = random.once(in: 10) ? random.pick(10_000...40_000) : random.pick(28...400)
        exit.put(sendQueue, sendQueuePacket(sendQueue, counts[sendQueue], length))
        counts[sendQueue] += 1
      }
      exit.flush(
        random.once(in: 5) ? 0 : random.pick(0...20_000),
        perSend: random.once(in: 2) ? .max : random.pick(1...9000))
    }
    exit.flush()
    let found = try #require(sendQueuePackets(exit.socket.takeBytes()))
    for sendQueue in 0..<3 {
      #expect(
        found.filter { $0.sendQueue == sendQueue }.map(\.number) == Array(0..<counts[sendQueue]))
    }
    #expect(exit.pool.heldCount == 0)
  }

  /// The bound is the packet that is being sent, or a turn of 16 KiB and the packet in which it ends. Later packets
  /// of that queue wait.
  @Test(
    "a small packet waits for at most one turn of another queue's bulk data",
    arguments: [
      28, 1000, 16_384, 40_000, Limits.usualPacket,
    ])
  func bound(bulk: Int) throws {
    let exit = Exit(sendQueues: 2)
    for number in 0..<40 { exit.put(0, sendQueuePacket(0, number, bulk)) }
    // The socket is slow: it accepts about a third of a packet at a time.
    exit.flush(bulk / 3 + 1)
    exit.socket.room = 0
    let before = exit.socket.takeBytes().count
    exit.put(1, sendQueuePacket(1, 0, 60))
    while exit.hasWork { exit.flush(bulk / 3 + 1, perSend: 5000) }
    let sent = exit.socket.takeBytes()
    var behind = 0
    let whole = (0..<40).flatMap { sendQueuePacket(0, $0, bulk) }.prefix(before)
    for found in try #require(sendQueuePackets(Array(whole) + sent)) {
      if found.sendQueue == 1 { break }
      behind += found.length
    }
    let bound = max(bulk, 16 * 1024 + bulk)
    #expect(behind - before <= bound, "\(behind - before) bytes went first")
    if bulk >= 16 * 1024 {
      #expect(behind - before <= bulk, "the rest of the packet being sent, and nothing else")
    }
  }

  @Test("each keystroke overtakes a download of alternating packets, after one turn at most")
  func keystrokes() throws {
    let exit = Exit(sendQueues: 2)
    var number = 0
    var sent: [UInt8] = []
    var pressed: [Int] = []
    for key in 0..<20 {
      while exit.sendQueues[0].queue.bytes < 1 << 20 {
        exit.put(0, sendQueuePacket(0, number, number.isMultiple(of: 2) ? Limits.usualPacket : 52))
        number += 1
      }
      exit.flush(100_000)
      sent += exit.socket.takeBytes()
      pressed.append(sent.count)
      exit.put(1, sendQueuePacket(1, key, 40))
      exit.flush(400_000)
      sent += exit.socket.takeBytes()
    }
    exit.flush()
    sent += exit.socket.takeBytes()
    var place = 0
    for found in try #require(sendQueuePackets(sent)) {
      if found.sendQueue == 1 {
        let wait = place - pressed[found.number]
        #expect(wait <= Limits.usualPacket + 16 * 1024, "\(wait) bytes went before it")
      }
      place += found.length
    }
  }

  @Test(
    "queues share the socket by bytes, whatever the sizes of their packets",
    arguments: [
      [[28], [28]], [[28], [Limits.usualPacket]], [[262_148], [262_148, 52]],
      [[1000], [52, 262_148]],
      [[300], [70_000], [262_148, 52]],
    ])
  func fairness(sizes: [[Int]]) throws {
    let exit = Exit(sendQueues: sizes.count)
    var counts = sizes.map { _ in 0 }
    var moved = sizes.map { _ in 0 }
    for _ in 0..<400 {
      for sendQueue in sizes.indices {
        while exit.sendQueues[sendQueue].queue.bytes < 600_000 {
          exit.put(
            sendQueue,
            sendQueuePacket(
              sendQueue, counts[sendQueue],
              sizes[sendQueue][counts[sendQueue] % sizes[sendQueue].count]))
          counts[sendQueue] += 1
        }
      }
      let before = exit.sendQueues.map { $0.queue.bytes }
      exit.flush(150_000)
      for sendQueue in sizes.indices {
        moved[sendQueue] += before[sendQueue] - exit.sendQueues[sendQueue].queue.bytes
      }
      _ = exit.socket.takeBytes()
    }
    let total = moved.reduce(0, +)
    #expect(total == 400 * 150_000)
    // No queue is ahead of another by more than a turn and its largest packet, so the bound is a few packets.
    for bytes in moved { #expect(abs(bytes - total / sizes.count) <= 3 * Limits.usualPacket) }
  }

  @Test("a queue pays nothing later for what it sent while it was alone")
  func alone() {
    let exit = Exit(sendQueues: 2)
    for number in 0..<100 {
      exit.put(0, sendQueuePacket(0, number, 100_000))
      exit.flush()
    }
    _ = exit.socket.takeBytes()
    // Now both queues have bulk data.
    for number in 0..<20 {
      exit.put(0, sendQueuePacket(0, 100 + number, 100_000))
      exit.put(1, sendQueuePacket(1, number, 100_000))
    }
    exit.flush(2_000_000)
    let taken = 2_000_000 - exit.sendQueues[0].queue.bytes
    #expect((800_000...1_200_000).contains(taken), "\(taken) of 2,000,000 bytes")
  }

  @Test("a held queue sends nothing, and sends everything when it is released")
  func held() {
    let exit = Exit(sendQueues: 2)
    exit.sendQueues[0].isHeld = true
    exit.put(0, sendQueuePacket(0, 0, 50))
    #expect(!exit.hasWork)
    #expect(exit.flush() == .moved(0))
    exit.put(1, sendQueuePacket(1, 0))
    #expect(exit.hasWork)
    #expect(exit.flush() == .moved(28))
    #expect(sendQueuePackets(exit.socket.takeBytes())?.map(\.sendQueue) == [1])
    exit.sendQueues[0].isHeld = false
    #expect(exit.flush() == .moved(50))
    #expect(sendQueuePackets(exit.socket.takeBytes())?.map(\.sendQueue) == [0])
  }

  @Test("a packet that has started is finished before another starts", arguments: 1...199)
  func midway(taken: Int) {
    let exit = Exit(sendQueues: 2)
    exit.put(0, sendQueuePacket(0, 0, 200))
    exit.flush(taken)
    #expect(exit.isBlocked)
    #expect(exit.sendQueues[0].isMidway)
    exit.put(1, sendQueuePacket(1, 0))
    exit.flush()
    #expect(sendQueuePackets(exit.socket.takeBytes())?.map(\.sendQueue) == [0, 1])
    #expect(!exit.sendQueues[0].isMidway)
  }

  @Test(
    "the scheduler waits for bytes that the transport has accepted and not sent, also when no queue has more"
  )
  func unsent() {
    let pool = SegmentPool(capacity: 512, spare: 2)
    let socket = ScriptedTransport(seed: 1)
    socket.isSmooth = true
    socket.makesRecords = true
    socket.capacity = 10
    var scheduler = SendScheduler(pool: pool)
    let sendQueue = SendQueue(pool: pool)
    scheduler.add(sendQueue)
    let packet = sendQueuePacket(0, 0, 40)
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
    let taking = scheduler.flush(to: socket)
    #expect(taking == .moved(40))
    let isQueueEmpty = sendQueue.queue.isEmpty
    let (bytes, hasWork, isBlocked) = (scheduler.bytes, scheduler.hasWork, scheduler.isBlocked)
    #expect(isQueueEmpty)
    #expect(bytes == 30 && hasWork && isBlocked)
    var taken = socket.taken
    while scheduler.hasWork {
      socket.taken = []
      scheduler.unblock()
      let outcome = scheduler.flush(to: socket)
      #expect(outcome == .moved(0))
      taken += socket.taken
    }
    #expect(taken == packet)
    let left = scheduler.bytes
    #expect(left == 0)
    scheduler.remove(sendQueue, socket)
  }
}
