// The sending half of a connection: queues of packets, and whose turn it is.
import Testing

@testable import Streams

@Suite("outlet")
struct OutletTests {
  @Test("packets of one lane leave in their order, in one send where the socket takes it")
  func order() {
    let exit = Exit(sendQueues: 1)
    let bytes = (0..<50).flatMap { lanePacket(0, $0, 28 + $0) }
    exit.put(0, bytes)
    #expect(exit.flush() == .moved(bytes.count))
    #expect(exit.socket.sent == [.bytes(bytes)])
    #expect(!exit.hasWork)
    #expect(exit.pool.heldCount == 0)
  }

  @Test(
    "packets of several lanes never mix, and each lane keeps its order",
    arguments: 0..<300 as Range<UInt64>)
  func whole(seed: UInt64) throws {
    var random = Seed(seed)
    let exit = Exit(sendQueues: 3)
    var counts = [0, 0, 0]
    for _ in 0..<200 {
      let sendQueue = random.pick(0...2)
      for _ in 0..<random.pick(0...3) {
        let length = random.once(in: 10) ? random.pick(10_000...40_000) : random.pick(28...400)
        exit.put(sendQueue, lanePacket(sendQueue, counts[sendQueue], length))
        counts[sendQueue] += 1
      }
      exit.flush(
        random.once(in: 5) ? 0 : random.pick(0...20_000),
        perSend: random.once(in: 2) ? .max : random.pick(1...9000))
    }
    exit.flush()
    let found = try #require(lanePackets(exit.socket.takeBytes()))
    for sendQueue in 0..<3 {
      #expect(
        found.filter { $0.sendQueue == sendQueue }.map(\.number) == Array(0..<counts[sendQueue]))
    }
    #expect(exit.pool.heldCount == 0)
  }

  /// The bound: the packet that is being sent, or a turn of 16 KiB and the packet in which it ends. What
  /// comes behind that in the same queue waits.
  @Test(
    "a small packet waits for one turn of another lane's bulk, however much that is",
    arguments: [
      28, 1000, 16_384, 40_000, Limits.usualPacket,
    ])
  func bound(bulk: Int) throws {
    let exit = Exit(sendQueues: 2)
    for number in 0..<40 { exit.put(0, lanePacket(0, number, bulk)) }
    // The socket is slow: it has room for about a third of a packet at a time.
    exit.flush(bulk / 3 + 1)
    exit.socket.room = 0
    let before = exit.socket.takeBytes().count
    exit.put(1, lanePacket(1, 0, 60))
    while exit.hasWork { exit.flush(bulk / 3 + 1, perSend: 5000) }
    let sent = exit.socket.takeBytes()
    var behind = 0
    let whole = (0..<40).flatMap { lanePacket(0, $0, bulk) }.prefix(before)
    for found in try #require(lanePackets(Array(whole) + sent)) {
      if found.sendQueue == 1 { break }
      behind += found.length
    }
    let bound = max(bulk, 16 * 1024 + bulk)
    #expect(behind - before <= bound, "\(behind - before) bytes went first")
    if bulk >= 16 * 1024 {
      #expect(behind - before <= bulk, "the rest of the packet being sent, and nothing else")
    }
  }

  @Test("each keystroke overtakes a download of alternating packets, behind one turn at most")
  func keystrokes() throws {
    let exit = Exit(sendQueues: 2)
    var number = 0
    var sent: [UInt8] = []
    var pressed: [Int] = []
    for key in 0..<20 {
      while exit.sendQueues[0].queue.bytes < 1 << 20 {
        exit.put(0, lanePacket(0, number, number.isMultiple(of: 2) ? Limits.usualPacket : 52))
        number += 1
      }
      exit.flush(100_000)
      sent += exit.socket.takeBytes()
      pressed.append(sent.count)
      exit.put(1, lanePacket(1, key, 40))
      exit.flush(400_000)
      sent += exit.socket.takeBytes()
    }
    exit.flush()
    sent += exit.socket.takeBytes()
    var place = 0
    for found in try #require(lanePackets(sent)) {
      if found.sendQueue == 1 {
        let wait = place - pressed[found.number]
        #expect(wait <= Limits.usualPacket + 16 * 1024, "\(wait) bytes went before it")
      }
      place += found.length
    }
  }

  @Test(
    "lanes share by bytes, whatever the sizes of their packets",
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
            lanePacket(
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
    // No queue is ahead of another by more than a turn and its largest packet, so a few of these at the end.
    for bytes in moved { #expect(abs(bytes - total / sizes.count) <= 3 * Limits.usualPacket) }
  }

  @Test("what a lane sent while it was alone is not held against it")
  func alone() {
    let exit = Exit(sendQueues: 2)
    for number in 0..<100 {
      exit.put(0, lanePacket(0, number, 100_000))
      exit.flush()
    }
    _ = exit.socket.takeBytes()
    // Both have bulk now.
    for number in 0..<20 {
      exit.put(0, lanePacket(0, 100 + number, 100_000))
      exit.put(1, lanePacket(1, number, 100_000))
    }
    exit.flush(2_000_000)
    let taken = 2_000_000 - exit.sendQueues[0].queue.bytes
    #expect((800_000...1_200_000).contains(taken), "\(taken) of 2,000,000 bytes")
  }

  @Test("a held lane sends nothing, and all of it when it is let go")
  func held() {
    let exit = Exit(sendQueues: 2)
    exit.sendQueues[0].isHeld = true
    exit.put(0, lanePacket(0, 0, 50))
    #expect(!exit.hasWork)
    #expect(exit.flush() == .moved(0))
    exit.put(1, lanePacket(1, 0))
    #expect(exit.hasWork)
    #expect(exit.flush() == .moved(28))
    #expect(lanePackets(exit.socket.takeBytes())?.map(\.sendQueue) == [1])
    exit.sendQueues[0].isHeld = false
    #expect(exit.flush() == .moved(50))
    #expect(lanePackets(exit.socket.takeBytes())?.map(\.sendQueue) == [0])
  }

  @Test("a packet that has begun to leave is ended before any other begins", arguments: 1...199)
  func midway(taken: Int) {
    let exit = Exit(sendQueues: 2)
    exit.put(0, lanePacket(0, 0, 200))
    exit.flush(taken)
    #expect(exit.isBlocked)
    #expect(exit.sendQueues[0].isMidway)
    exit.put(1, lanePacket(1, 0))
    exit.flush()
    #expect(lanePackets(exit.socket.takeBytes())?.map(\.sendQueue) == [0, 1])
    #expect(!exit.sendQueues[0].isMidway)
  }

  @Test(
    "what the transport has taken and not sent is waited for, also when no lane has anything more")
  func unsent() {
    let pool = SegmentPool(capacity: 512, spare: 2)
    let socket = ScriptedTransport(seed: 1)
    socket.isSmooth = true
    socket.makesRecords = true
    socket.capacity = 10
    var scheduler = SendScheduler(pool: pool)
    let sendQueue = SendQueue(pool: pool)
    scheduler.add(sendQueue)
    let packet = lanePacket(0, 0, 40)
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
