// Received descriptors: each belongs to a carrier byte after its packet, or is an error.
import Testing

@testable import Simulator
@testable import Streams

@Suite("receive buffer: descriptors")
struct ReceiveBufferDescriptorTests {
  private func carrying(_ count: Int, serial: UInt32 = 1) -> [UInt8] {
    Stamp.packet(
      PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: serial),
      Stamp.bytes(UInt32(count), 99))
  }

  @Test("descriptors stay with their packet, in order, wherever the reads end")
  func matched() throws {
    let bytes = carrying(3)
    for cut in 1...bytes.count {
      let intake = Intake()
      intake.read(bytes[..<cut])
      // The kernel ends a read after a carrier; the first carrier arrives with the bytes before it.
      intake.read(Array(bytes[cut...]) + [0], descriptor: 50)
      intake.read([0], descriptor: 51)
      #expect(try intake.next() == nil, "a carrier is missing")
      intake.read([0] + packet(2, 30)[..<0], descriptor: 52)
      let frame = try #require(try intake.next())
      #expect(intake.hasDescriptors(of: frame))
      intake.take(frame)
      #expect(!intake.hasMisplacedDescriptor)
      intake.queue.drop(bytes.count)
      for number in 50...52 as ClosedRange<Int32> {
        #expect(intake.queue.frontDescriptor == number)
        intake.queue.drop(1)
      }
    }
    let intake = Intake()
    intake.read(packet(1, 28))
    #expect(intake.hasDescriptors(of: try #require(try intake.next())), "none are due")
  }

  @Test("a carrier without its descriptor is detected", arguments: 0..<3)
  func missing(which: Int) throws {
    let intake = Intake()
    intake.read(carrying(3))
    for number in 0..<3 { intake.read([0], descriptor: number == which ? -1 : 50) }
    let frame = try #require(try intake.next())
    #expect(!intake.hasDescriptors(of: frame))
    intake.drop(frame)
    #expect(intake.socket.discarded == [50, 50])
  }

  @Test(
    "a descriptor on a byte that is not a carrier is detected when it arrives",
    arguments: [0, 1, 2])
  func misplaced(packetsBefore: Int) throws {
    for bytes in [packet(9, 40), carrying(2, serial: 9)] {
      // A descriptor on the first byte could be a stray carrier.
      for place in 2...bytes.count {
        // After two packets the header is split between two segments.
        let intake = Intake(segment: 128)
        for serial in 0..<packetsBefore { intake.read(packet(UInt32(serial), 40)) }
        intake.read(bytes[..<place], descriptor: 50)
        #expect(intake.hasMisplacedDescriptor, "on byte \(place)")
      }
    }
  }

  @Test(
    "in a packet that is cut through, a descriptor is an error on an ordinary byte and valid on a carrier"
  )
  func misplacedInLarge() throws {
    let bytes = Stamp.packet(
      PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1),
      Stamp.bytes(2, padding: 300))
    for end in [201, 250, bytes.count] {
      let intake = Intake(largestWhole: 128)
      intake.read(bytes[..<200])
      try intake.takeAll()
      intake.read(bytes[200..<end], descriptor: 50)
      #expect(intake.hasMisplacedDescriptor, "on byte \(end)")
    }
    let intake = Intake(largestWhole: 128)
    intake.read(bytes[..<200])
    try intake.takeAll()
    intake.read(Array(bytes[200...]) + [0], descriptor: 50)
    intake.read([0], descriptor: 51)
    // After the packet, positions count from its end.
    intake.read(carrying(1, serial: 2) + [0], descriptor: 52)
    #expect(!intake.hasMisplacedDescriptor)
    intake.read(packet(3, 40)[..<20], descriptor: 53)
    #expect(intake.hasMisplacedDescriptor)
  }

  @Test("a descriptor between packets is an error where strays are not allowed")
  func noStray() throws {
    for isTaken in [false, true] {
      let intake = Intake(allowsStray: false)
      intake.read(carrying(1) + [0], descriptor: 50)
      if isTaken { try intake.takeAll() }
      #expect(!intake.hasMisplacedDescriptor)
      intake.read([0], descriptor: 51)
      #expect(intake.hasMisplacedDescriptor)
    }
  }

  @Test("strays between waiting packets do not hide the packets after them")
  func behindStray() throws {
    let intake = Intake()
    intake.read(packet(1, 28))
    intake.read([0], descriptor: 50)
    intake.read([0], descriptor: 51)
    intake.read(carrying(2) + [0], descriptor: 52)
    intake.read([0], descriptor: 53)
    #expect(!intake.hasMisplacedDescriptor)
    intake.read(packet(3, 30), descriptor: 54)
    #expect(intake.hasMisplacedDescriptor)
  }

  @Test("a carrier between packets is a stray and can be dropped")
  func stray() throws {
    let intake = Intake()
    intake.read(packet(1, 28))
    #expect(!intake.frontIsCarrier)
    intake.read([0], descriptor: 50)
    intake.read([0], descriptor: 51)
    intake.read(packet(2, 28))
    #expect(!intake.frontIsCarrier, "a packet is in front of it")
    let first = try #require(try intake.next())
    intake.take(first)
    #expect(intake.frontIsCarrier)
    intake.receiveBuffer.dropCarrier(intake.socket)
    #expect(intake.frontIsCarrier)
    intake.receiveBuffer.dropCarrier(intake.socket)
    #expect(!intake.frontIsCarrier)
    #expect(intake.socket.discarded == [50, 51])
    #expect(try intake.takeAll().map(\.header.serial) == [2])
  }

  @Test("a lone stray carrier holds no segment and keeps its descriptor")
  func strayAside() {
    let intake = Intake()
    intake.read([0], descriptor: 50)
    intake.receiveBuffer.settle()
    #expect(intake.pool.heldCount == 0)
    #expect(intake.frontIsCarrier)
    #expect(intake.socket.discarded.isEmpty)
  }

  @Test("clearing the buffer discards all waiting descriptors")
  func cleared() {
    let intake = Intake()
    intake.read(carrying(4))
    for number in 50...52 as ClosedRange<Int32> { intake.read([0], descriptor: number) }
    intake.receiveBuffer.clear(intake.socket)
    #expect(intake.socket.discarded == [50, 51, 52])
    #expect(intake.pool.heldCount == 0)
    #expect(intake.receiveBuffer.waiting == 0)
  }

  @Test("the descriptors of a packet that is cut through come with its last part")
  func cutThrough() throws {
    let bytes = Stamp.packet(
      PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1),
      Stamp.bytes(2, padding: 300))
    let intake = Intake(largestWhole: 128)
    intake.read(bytes[..<200])
    #expect(try intake.takeAll().map(\.part) == [.first])
    intake.read(Array(bytes[200...]) + [0], descriptor: 50)
    #expect(try intake.takeAll().map(\.part) == [.middle])
    #expect(intake.receiveBuffer.unfinished == 3, "a byte and two carriers")
    intake.read([0], descriptor: 51)
    let last = try #require(try intake.next())
    #expect((last.part, last.carriers) == (.last, 2))
    #expect(intake.hasDescriptors(of: last))
    intake.take(last)
    #expect(difference(intake.contents(), bytes + [0, 0]) == nil)
  }

  @Test("more waiting descriptors than the limit are detected")
  func tooMany() {
    let intake = Intake(segment: 4096)
    for serial in 0..<ReceiveBuffer.mostDescriptors / Limits.descriptors {
      intake.read(carrying(Limits.descriptors, serial: UInt32(serial)))
      for _ in 0..<Limits.descriptors { intake.read([0], descriptor: 50) }
    }
    #expect(!intake.hasTooManyDescriptors)
    intake.read(carrying(1, serial: 99) + [0], descriptor: 50)
    #expect(intake.hasTooManyDescriptors)
    #expect(!intake.hasMisplacedDescriptor)
  }
}
