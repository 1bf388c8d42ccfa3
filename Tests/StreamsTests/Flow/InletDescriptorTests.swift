// Descriptors on their way in: each belongs to a carrier byte behind its packet, or to nothing.
import Testing

@testable import Streams

@Suite("inlet: descriptors")
struct InletDescriptorTests {
  private func carrying(_ count: Int, serial: UInt32 = 1) -> [UInt8] {
    Stamp.packet(
      PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: serial),
      Stamp.bytes(UInt32(count), 99))
  }

  @Test("descriptors go with their packet, in order, wherever the reads end")
  func matched() throws {
    let bytes = carrying(3)
    for cut in 1...bytes.count {
      let intake = Intake()
      intake.read(bytes[..<cut])
      // The kernel ends a read behind a carrier; the first comes together with the bytes before it.
      intake.read(Array(bytes[cut...]) + [0], descriptor: 50)
      intake.read([0], descriptor: 51)
      #expect(try intake.next() == nil, "a carrier is missing")
      intake.read([0] + packet(2, 30)[..<0], descriptor: 52)
      let frame = try #require(try intake.next())
      #expect(intake.hasDescriptors(of: frame))
      intake.take(frame)
      #expect(!intake.hasLostDescriptor)
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

  @Test("carriers without their descriptors are noticed", arguments: 0..<3)
  func missing(which: Int) throws {
    let intake = Intake()
    intake.read(carrying(3))
    for number in 0..<3 { intake.read([0], descriptor: number == which ? -1 : 50) }
    let frame = try #require(try intake.next())
    #expect(!intake.hasDescriptors(of: frame))
    intake.drop(frame)
    #expect(intake.socket.discarded == [50, 50])
  }

  @Test("a descriptor on an ordinary byte is noticed when that byte has passed")
  func lost() throws {
    let bytes = packet(1, 40)
    for place in 1...39 {
      let intake = Intake()
      intake.read(bytes[..<place], descriptor: 50)
      intake.read(bytes[place...])
      #expect(!intake.hasLostDescriptor)
      try intake.takeAll()
      #expect(intake.hasLostDescriptor, "on byte \(place)")
    }
  }

  @Test("a carrier between packets is a stray one, and can be dropped")
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
    intake.inlet.dropCarrier(intake.socket)
    #expect(intake.frontIsCarrier)
    intake.inlet.dropCarrier(intake.socket)
    #expect(!intake.frontIsCarrier)
    #expect(intake.socket.discarded == [50, 51])
    #expect(try intake.takeAll().map(\.header.serial) == [2])
  }

  @Test("a stray carrier that is all there is holds no segment and keeps its descriptor")
  func strayAside() {
    let intake = Intake()
    intake.read([0], descriptor: 50)
    intake.inlet.settle()
    #expect(intake.pool.heldCount == 0)
    #expect(intake.frontIsCarrier)
    #expect(intake.socket.discarded.isEmpty)
  }

  @Test("all descriptors that wait are discarded with the connection")
  func cleared() {
    let intake = Intake()
    intake.read(carrying(4))
    for number in 50...52 as ClosedRange<Int32> { intake.read([0], descriptor: number) }
    intake.inlet.clear(intake.socket)
    #expect(intake.socket.discarded == [50, 51, 52])
    #expect(intake.pool.heldCount == 0)
    #expect(intake.inlet.waiting == 0)
  }

  @Test("the descriptors of a packet that is cut through come with its end")
  func cutThrough() throws {
    let bytes = Stamp.packet(
      PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1),
      Stamp.bytes(2, padding: 300))
    let intake = Intake(largestWhole: 128)
    intake.read(bytes[..<200])
    #expect(try intake.takeAll().map(\.part) == [.first])
    intake.read(Array(bytes[200...]) + [0], descriptor: 50)
    #expect(try intake.takeAll().map(\.part) == [.middle])
    #expect(intake.inlet.unfinished == 3, "a byte and two carriers")
    intake.read([0], descriptor: 51)
    let last = try #require(try intake.next())
    #expect((last.part, last.carriers) == (.last, 2))
    #expect(intake.hasDescriptors(of: last))
    intake.take(last)
    #expect(difference(intake.contents(), bytes + [0, 0]) == nil)
  }

  @Test("more descriptors than anybody honest sends are too many")
  func tooMany() {
    let intake = Intake(segment: 4096)
    let bytes = packet(1, 1000)
    for place in 0..<Inlet.mostDescriptors { intake.read([bytes[place]], descriptor: 50) }
    #expect(!intake.hasTooManyDescriptors)
    intake.read([bytes[Inlet.mostDescriptors]], descriptor: 50)
    #expect(intake.hasTooManyDescriptors)
  }
}
