package org.kerascnn.demo.ui

import java.io.IOException

/**
 * Ask another app's provider for something.
 *
 * It may throw whatever it likes: a SecurityException where the permission went with the last start,
 * an IllegalArgumentException for a file that is gone, an IllegalStateException of its database.
 *
 * @throws IOException the provider refused, in its own words.
 */
inline fun <T> foreign(ask: () -> T): T = try {
    ask()
} catch (refused: RuntimeException) {
    throw IOException(refused.message ?: refused.javaClass.simpleName, refused)
}
