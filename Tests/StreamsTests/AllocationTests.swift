// The data path takes no memory: once warm, a packet costs no allocation, whatever kind it is of.
import AllocationCount
import SyntheticRelay
import Testing

@Suite("Allocations", .enabled(if: allocation_is_counted() != 0, "a sanitizer has the allocator"))
struct AllocationTests {
  @Test("a relayed packet costs none", arguments: Course.allCases)
  func perPacket(course: Course) {
    let syntheticRelay = SyntheticRelay(course)
    syntheticRelay.run(packets: 200)
    let (before, bytes) = (allocation_count(), syntheticRelay.bytes)
    syntheticRelay.run(packets: 10_000)
    #expect(allocation_count() - before == 0)
    #expect(syntheticRelay.bytes - bytes >= 10_000 * 28, "packets went through")
  }

  @Test("the counter counts")
  func counter() {
    let before = allocation_count()
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 100, alignment: 64)
    let array = [UInt8](repeating: 1, count: Int(memory.load(as: UInt8.self)) + 100)
    memory.deallocate()
    #expect(allocation_count() - before >= 2 && array.count >= 100)
  }
}
