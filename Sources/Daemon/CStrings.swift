// Strings in C's form, for the command line and for starting a program.
@preconcurrency import Glibc

/// Strings in C's form, for example an `argv`. They are valid as long as this object lives.
final class CStrings {
  /// Ends with a null pointer, as `argv` and `environ` do.
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  let count: CInt
  private var kept: [UnsafeMutablePointer<CChar>?] = []

  init(_ strings: [String]) {
    pointers = .allocate(capacity: strings.count + 1)
    count = CInt(strings.count)
    for (index, string) in strings.enumerated() { pointers[index] = keep(string) }
    pointers[strings.count] = nil
  }

  deinit {
    for string in kept { free(string) }
    pointers.deallocate()
  }

  /// A copy of `string` that is valid as long as this object lives.
  func keep(_ string: String) -> UnsafeMutablePointer<CChar>? {
    kept.append(strdup(string))
    return kept[kept.count - 1]
  }

  func string(_ index: Int) -> String { pointers[index].map { String(cString: $0) } ?? "" }
}
