// Copies of the calls that may be sent again.

/// Packets of calls under way that only read, by number. The storage of a call that has ended is used again, so that
/// nothing is allocated for most calls.
struct CallCopies {
  /// The longest packet that is kept, in bytes. Calls that only read are short: most have the name and UUID of an object.
  static let longest = 4096

  private var packets: [[UInt8]] = []
  private var free: [Int] = []

  /// Keeps the packet that `fill` writes. Returns its number.
  mutating func add(_ fill: (inout [UInt8]) -> Void) -> Int {
    let number: Int
    if let last = free.popLast() {
      number = last
    } else {
      number = packets.count
      packets.append([])
    }
    packets[number].removeAll(keepingCapacity: true)
    fill(&packets[number])
    return number
  }

  subscript(number: Int) -> [UInt8] { packets[number] }

  mutating func remove(_ number: Int) { free.append(number) }
}
