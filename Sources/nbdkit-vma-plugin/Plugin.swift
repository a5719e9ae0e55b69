// SPDX-License-Identifier: Apache-2.0

import CNBDKit
import CToolsVersion
import Glibc

/// The entry point that nbdkit looks up by its name.
@_cdecl("plugin_init")
public func initializePlugin() -> UnsafeMutableRawPointer {
  // nbdkit uses it until the process ends.
  let table = UnsafeMutablePointer<nbdkit_plugin>.allocate(capacity: 1)
  unsafe table.initialize(to: makePlugin())
  return UnsafeMutableRawPointer(table)
}

private func makePlugin() -> nbdkit_plugin {
  var plugin = unsafe nbdkit_plugin()
  unsafe plugin._struct_size = UInt64(MemoryLayout<nbdkit_plugin>.stride)
  unsafe plugin._api_version = NBDKIT_API_VERSION
  unsafe plugin._thread_model = NBDKIT_THREAD_MODEL_PARALLEL
  unsafe plugin.name = unsafe UnsafePointer(strdup("vma"))
  unsafe plugin.longname = unsafe UnsafePointer(strdup("vma-tools: disks in VMA archives"))
  unsafe plugin.version = vma_tools_version()
  unsafe plugin.description = unsafe UnsafePointer(
    strdup("Serve each disk of a VMA archive read-only, without restoring it."))
  unsafe plugin.magic_config_key = unsafe UnsafePointer(strdup("archive"))
  unsafe plugin.config_help = unsafe UnsafePointer(strdup(Parameters.help))

  unsafe plugin.config = { key, value in
    guard let key = unsafe key, let value = unsafe value else { return -1 }
    return Service.attempt(-1) {
      try unsafe Service.set(String(cString: key), to: String(cString: value))
      return 0
    }
  }
  unsafe plugin.config_complete = {
    Service.attempt(-1) {
      try Service.requireArchive()
      return 0
    }
  }
  // All checks happen here: nbdkit can still report errors, and the paths are still relative to the
  // directory where the user started it.
  unsafe plugin.get_ready = {
    Service.attempt(-1) {
      try Service.openArchive()
      return 0
    }
  }
  unsafe plugin.cleanup = { Service.closeArchive() }

  unsafe plugin.list_exports = { _, _, exports in
    Service.attempt(-1) { unsafe try Service.archive().list(in: exports) }
  }
  // Without a default, the empty name stays as it is, and opening it reports the available names.
  unsafe plugin.default_export = { _, _ in
    unsafe Service.attempt(nil) {
      try unsafe Service.keep(Service.archive().defaultExport?.exportName ?? [])
    }
  }
  unsafe plugin.open = { _ in
    unsafe Service.attempt(nil) {
      unsafe try Service.archive().export(named: Service.requestedName()).retained()
    }
  }
  unsafe plugin.close = { handle in unsafe Export.release(handle) }
  unsafe plugin.export_description = { handle in
    unsafe Service.attempt(nil) {
      try unsafe Service.keep(Array(Export.of(handle).description.utf8))
    }
  }

  unsafe plugin.get_size = { handle in
    Service.attempt(-1) { try unsafe Int64(clamping: Export.of(handle).size) }
  }
  unsafe plugin.block_size = { _, minimum, preferred, maximum in
    unsafe minimum?.pointee = 1
    unsafe preferred?.pointee = 4096
    unsafe maximum?.pointee = .max
    return 0
  }
  unsafe plugin.can_multi_conn = { _ in 1 }
  unsafe plugin.can_cache = { _ in NBDKIT_CACHE_EMULATE }
  unsafe plugin.can_extents = { _ in 1 }
  unsafe plugin.pread = { handle, bytes, count, offset, _ in
    Service.attempt(-1) {
      let memory = unsafe UnsafeMutableRawBufferPointer(start: bytes, count: Int(count))
      try unsafe Export.of(handle).read(into: memory, at: offset)
      return 0
    }
  }
  unsafe plugin.extents = { handle, count, offset, flags, extents in
    Service.attempt(-1) {
      try unsafe Export.of(handle).addExtents(
        to: extents, count: count, at: offset, onlyFirst: flags & UInt32(NBDKIT_FLAG_REQ_ONE) != 0)
      return 0
    }
  }
  return unsafe plugin
}
