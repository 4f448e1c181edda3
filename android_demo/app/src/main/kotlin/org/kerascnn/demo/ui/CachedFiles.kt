package org.kerascnn.demo.ui

import android.content.Context
import android.net.Uri
import android.provider.DocumentsContract.Document
import android.provider.OpenableColumns
import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.security.MessageDigest

/**
 * The app's own copies of files that the user opened.
 *
 * A file of another app may be written over, or cut off, while it is mapped into memory, which ends
 * the process; nobody writes to a copy. A new copy is another file, so that what is mapped stays.
 *
 * @param mostBytes of one file.
 * @param mostKept of all of them; those that were used longest ago go first.
 */
class CachedFiles(
    private val context: Context,
    private val mostBytes: Long = MOST_BYTES,
    private val mostKept: Long = MOST_KEPT,
) {
    private val folder = File(context.cacheDir, FOLDER)

    /**
     * A file's bytes, mapped into memory.
     *
     * A copy is used again where the provider says that size and date are those of then.
     *
     * @throws IOException it cannot be read, is empty, or too large.
     */
    fun bytes(uri: Uri): ByteBuffer = synchronized(LOCK) {
        val version = versionOf(uri)
        val known = version?.let { File(folder, nameOf(uri, it)) }?.takeIf(File::isFile)
        val copy = known ?: copied(uri, version)
        copy.setLastModified(System.currentTimeMillis())
        forgetOldest(copy)
        FileInputStream(copy).use { file ->
            file.channel.map(FileChannel.MapMode.READ_ONLY, 0, file.channel.size())
        }
    }

    private fun copied(uri: Uri, version: Version?): File {
        if (version != null && version.bytes > mostBytes) throw tooLarge()
        folder.mkdirs()
        // Copies that are not used again differ in their names all the same: one may be mapped.
        val copy = File(folder, nameOf(uri, version ?: Version(0, System.nanoTime())))
        val partial = File(folder, "$PARTIAL${copy.name}")
        try {
            val stream = foreign { context.contentResolver.openInputStream(uri) }
                ?: throw IOException("nothing behind $uri")
            stream.use { from -> write(from, partial) }
            if (!partial.renameTo(copy)) throw IOException("$copy cannot be written")
            val earlier = folder.listFiles { file -> file.name.startsWith(hash(uri)) && file != copy }
            earlier?.forEach(File::delete)
        } finally {
            partial.delete()
        }
        return copy
    }

    private fun write(from: InputStream, to: File) {
        val piece = ByteArray(PIECE)
        var all = 0L
        to.outputStream().use { out ->
            while (true) {
                val length = foreign { from.read(piece) }
                if (length < 0) break
                all += length
                if (all > mostBytes) throw tooLarge()
                out.write(piece, 0, length)
            }
        }
        if (all == 0L) throw IOException("the file is empty")
    }

    private fun forgetOldest(inUse: File) {
        val others = folder.listFiles().orEmpty().filter { it != inUse }.sortedBy(File::lastModified)
        var all = inUse.length() + others.sumOf(File::length)
        for (file in others) {
            if (all <= mostKept && !file.name.startsWith(PARTIAL)) continue
            all -= file.length()
            file.delete() // what is mapped stays in memory until it is closed
        }
    }

    private class Version(val bytes: Long, val modified: Long)

    /** Size and date; null where the provider does not tell both. */
    private fun versionOf(uri: Uri): Version? = try {
        val columns = arrayOf(OpenableColumns.SIZE, Document.COLUMN_LAST_MODIFIED)
        context.contentResolver.query(uri, columns, null, null, null)?.use { cursor ->
            val (size, date) = columns.map(cursor::getColumnIndex)
            val tells = cursor.moveToFirst() && size >= 0 && date >= 0 &&
                !cursor.isNull(size) && !cursor.isNull(date)
            if (tells) Version(cursor.getLong(size), cursor.getLong(date)) else null
        }
    } catch (_: RuntimeException) { // another app's
        null
    }

    private fun nameOf(uri: Uri, version: Version) = "${hash(uri)}-${version.bytes}-${version.modified}"

    private fun hash(uri: Uri): String =
        MessageDigest.getInstance("SHA-256").digest(uri.toString().toByteArray())
            .take(HASH_BYTES).joinToString("") { "%02x".format(it) }

    private fun tooLarge() = IOException("more than ${mostBytes shr 20} MiB")

    private companion object {
        const val FOLDER = "models"
        const val PARTIAL = "partial-"
        const val HASH_BYTES = 16
        const val PIECE = 1 shl 16

        /** VGG19 in float32 has 548 MiB. */
        const val MOST_BYTES = 1L shl 30
        const val MOST_KEPT = 1L shl 30

        /** Two threads never write the same copy. */
        val LOCK = Any()
    }
}
