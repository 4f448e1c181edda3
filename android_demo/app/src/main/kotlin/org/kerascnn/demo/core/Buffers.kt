package org.kerascnn.demo.core

import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder

// Android 8 and older have these in Buffer alone: called on a ByteBuffer, they would not be found.

internal fun Buffer.goTo(index: Int) {
    position(index)
}

internal fun Buffer.cutAt(index: Int) {
    limit(index)
}

internal fun Buffer.fromStart() {
    clear()
}

/** Bytes of a part, whatever the position. */
internal fun ByteBuffer.bytes(begin: Int, length: Int): ByteArray {
    val part = duplicate()
    part.fromStart()
    part.goTo(begin)
    return ByteArray(length).also { part.get(it) }
}

/** Memory that the runtime reads and writes. */
internal fun direct(bytes: Int): ByteBuffer =
    ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
