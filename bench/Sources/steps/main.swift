// steps COURSE PACKETS: forwards that many packets through the relay without sockets, for a profiler.
import Glibc
import SyntheticRelay

let arguments = CommandLine.arguments
guard arguments.count == 3, let course = Course(rawValue: arguments[1]),
  let packets = Int(arguments[2]), packets > 0
else {
  let courses = Course.allCases.map(\.rawValue).joined(separator: "|")
  let usage = "usage: steps \(courses) PACKETS\n"
  _ = write(STDERR_FILENO, usage, usage.utf8.count)
  exit(2)
}
let syntheticRelay = SyntheticRelay(course)
// The first packets cause the allocations that are made only once.
syntheticRelay.run(packets: 200)
let clock = ContinuousClock()
let elapsed = clock.measure { syntheticRelay.run(packets: packets) }
let nanoseconds =
  Double(elapsed.components.seconds) * 1e9 + Double(elapsed.components.attoseconds) / 1e9
print(nanoseconds / Double(packets))
