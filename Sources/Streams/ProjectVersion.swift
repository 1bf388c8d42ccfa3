/// The version of everything in this project. Its programs print it, and the Debian package is called by it.
public enum ProjectVersion {
  public static let text = "0.1.0"
}
