package org.kerascnn.demo.ui

import android.content.Context
import android.net.Uri
import android.provider.OpenableColumns
import java.io.FileInputStream
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/** A .tflite file of the app's own, or one that the user opened. */
sealed class ModelFile {
    /** Names it in preferences and saved states. */
    abstract val key: String

    /**
     * The file's bytes, mapped into memory where that is possible.
     *
     * @throws IOException it cannot be read.
     */
    abstract fun bytes(context: Context): ByteBuffer

    /** What to call it where it does not tell its own name. */
    abstract fun name(context: Context): String

    override fun equals(other: Any?): Boolean = other is ModelFile && other.key == key

    override fun hashCode(): Int = key.hashCode()

    class Asset(private val path: String) : ModelFile() {
        override val key = ASSET + path

        override fun name(context: Context) = path.substringAfterLast('/')

        override fun bytes(context: Context): ByteBuffer = try {
            context.assets.openFd(path).use { file ->
                FileInputStream(file.fileDescriptor).channel
                    .map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
            }
        } catch (_: IOException) { // compressed in the package
            context.assets.open(path).use(::whole)
        }
    }

    class Opened(val uri: Uri) : ModelFile() {
        override val key = OPENED + uri

        override fun name(context: Context): String = nameOf(context, uri)

        override fun bytes(context: Context): ByteBuffer = CachedFiles(context).bytes(uri)
    }

    companion object {
        private const val ASSET = "asset:"
        private const val OPENED = "opened:"
        private const val FOLDER = "models"
        private const val SUFFIX = ".tflite"
        private const val MOST_BYTES = 1 shl 30
        private const val PIECE = 1 shl 16

        /** The file of a key. */
        fun of(key: String): ModelFile? = when {
            key.startsWith(ASSET) -> Asset(key.removePrefix(ASSET))
            key.startsWith(OPENED) -> Opened(Uri.parse(key.removePrefix(OPENED)))
            else -> null
        }

        /** All that lie in assets/models. */
        fun assets(context: Context): List<ModelFile> =
            context.assets.list(FOLDER).orEmpty()
                .filter { it.endsWith(SUFFIX) }
                .sorted()
                .map { Asset("$FOLDER/$it") }

        /** The name of what a document's address leads to. */
        fun nameOf(context: Context, uri: Uri): String {
            val named = try {
                val columns = arrayOf(OpenableColumns.DISPLAY_NAME)
                context.contentResolver.query(uri, columns, null, null, null)?.use { cursor ->
                    if (cursor.moveToFirst() && !cursor.isNull(0)) cursor.getString(0) else null
                }
            } catch (_: RuntimeException) { // what another app's provider throws
                null
            }
            return named ?: uri.lastPathSegment?.substringAfterLast('/') ?: uri.toString()
        }

        /** A stream's bytes where the runtime can reach them. */
        fun whole(stream: InputStream): ByteBuffer {
            var bytes = ByteBuffer.allocateDirect(maxOf(stream.available(), PIECE))
            val piece = ByteArray(PIECE)
            while (true) {
                val length = stream.read(piece)
                if (length < 0) break
                if (bytes.position() + length > MOST_BYTES) throw IOException("more than 1024 MiB")
                if (bytes.remaining() < length) {
                    val larger = ByteBuffer.allocateDirect(minOf(2L * bytes.capacity() + length, MOST_BYTES.toLong()).toInt())
                    bytes.readable()
                    bytes = larger.put(bytes)
                }
                bytes.put(piece, 0, length)
            }
            bytes.readable()
            return bytes.slice().order(ByteOrder.nativeOrder())
        }
    }
}
