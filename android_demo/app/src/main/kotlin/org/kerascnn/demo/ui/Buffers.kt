package org.kerascnn.demo.ui

import java.nio.Buffer

// Before Android 9 only Buffer itself has these; by way of ByteBuffer's own the app would not run.

/** Set where the next byte is read. */
fun Buffer.moveTo(index: Int) {
    position(index)
}

/** From writing to reading. */
fun Buffer.readable() {
    flip()
}
