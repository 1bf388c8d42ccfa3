// allocations: checks that the data path does not allocate. After a warm-up no packet of any kind may cause an
// allocation. Build it optimised: in a debug build the compiler adds allocations of its own.
import AllocationCount
import Glibc
import SyntheticRelay

let packets = 10_000
var isGood = true

@MainActor func report(_ what: String, _ holds: Bool, _ detail: String) {
  print("\(holds ? "ok" : "FAILED"): \(what): \(detail)")
  if !holds { isGood = false }
}

// A counter that does not count would make every check pass.
let before = allocation_count()
let memory = UnsafeMutableRawPointer.allocate(byteCount: 100, alignment: 64)
let array = [UInt8](repeating: 1, count: Int(memory.load(as: UInt8.self)) + 100)
memory.deallocate()
let counted = allocation_count() - before
report(
  "the counter", counted >= 2 && array.count >= 100,
  "\(counted) allocations counted, 2 or more expected")

for course in Course.allCases {
  let relay = SyntheticRelay(course)
  relay.run(packets: 200)
  let (allocations, bytes) = (allocation_count(), relay.bytes)
  relay.run(packets: packets)
  let taken = allocation_count() - allocations
  let moved = relay.bytes - bytes
  report(
    course.rawValue, taken == 0 && moved >= packets * 28,
    "\(taken) allocations for \(packets) packets of \(moved) bytes")
}
exit(isGood ? 0 : 1)
