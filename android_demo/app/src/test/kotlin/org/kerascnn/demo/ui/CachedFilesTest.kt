package org.kerascnn.demo.ui

import android.content.ContentProvider
import android.content.ContentValues
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract.Document
import android.provider.OpenableColumns
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

/** Files of other apps, which may do as they like. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [24, 35])
class CachedFilesTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private val context = RuntimeEnvironment.getApplication()
    private val uri: Uri = Uri.parse("content://${Documents.AUTHORITY}/model")
    private val copies = File(context.cacheDir, "models")

    @Before
    fun provide() {
        Robolectric.setupContentProvider(Documents::class.java, Documents.AUTHORITY)
        Documents.file = temporary.newFile().apply { writeText("first") }
        Documents.size = 5
        Documents.modified = 1
        Documents.opened = 0
        Documents.refusal = null
    }

    private fun text(bytes: ByteBuffer) =
        String(ByteArray(bytes.limit()).also { bytes.duplicate().get(it) })

    @Test
    fun `what is written over under the app stays as it was opened`() {
        val mapped = CachedFiles(context).bytes(uri)
        Documents.file.writeText("x")
        Documents.size = 1
        assertEquals("first", text(mapped))
        assertEquals("x", text(CachedFiles(context).bytes(uri)))
        assertEquals("first", text(mapped))
        assertEquals("one copy a file", 1, copies.list().orEmpty().size)
    }

    @Test
    fun `the same size and date are the same file`() {
        repeat(3) { assertEquals("first", text(CachedFiles(context).bytes(uri))) }
        assertEquals(1, Documents.opened)
        Documents.modified = 2
        CachedFiles(context).bytes(uri)
        assertEquals(2, Documents.opened)
        Documents.modified = null
        repeat(2) { CachedFiles(context).bytes(uri) }
        assertEquals(4, Documents.opened)
    }

    @Test
    fun `a file beyond what can be mapped is refused before it is read`() {
        Documents.size = (1L shl 31) + 1
        val told = assertThrows(IOException::class.java) { CachedFiles(context).bytes(uri) }
        assertEquals("more than 1024 MiB", told.message)
        assertEquals(0, Documents.opened)
    }

    @Test
    fun `one that says nothing is refused while it is read, and nothing is left`() {
        Documents.modified = null
        val small = CachedFiles(context, mostBytes = 4)
        assertThrows(IOException::class.java) { small.bytes(uri) }
        Documents.file.writeText("")
        assertThrows(IOException::class.java) { CachedFiles(context).bytes(uri) }
        assertArrayEquals(emptyArray(), copies.list().orEmpty())
    }

    @Test
    fun `copies that were used longest ago go first`() {
        val kept = CachedFiles(context, mostKept = 11)
        val uris = (1..3).map { uri.buildUpon().appendPath("$it").build() }
        for ((at, each) in uris.withIndex()) {
            kept.bytes(each)
            copies.listFiles().orEmpty().forEach { it.setLastModified(it.lastModified() - 1000L * (at + 1)) }
        }
        assertEquals(2, copies.list().orEmpty().size)
        kept.bytes(uris[2])
        assertEquals(3, Documents.opened)
        kept.bytes(uris[0])
        assertEquals(4, Documents.opened)
    }

    @Test
    fun `whatever another app's provider throws is told`() {
        val refusals = listOf(
            IllegalArgumentException("gone"),
            IllegalStateException("its database"),
            SecurityException("not yours"),
            UnsupportedOperationException("no"),
            NullPointerException("it is broken"),
        )
        val catalogue = Catalogue(context, Preferences(context))
        for (refusal in refusals) {
            Documents.refusal = refusal
            val entry = catalogue.entry(ModelFile.Opened(uri))
            val told = checkNotNull(entry.problem).text(context.resources)
            assertTrue(told, told.contains(checkNotNull(refusal.message)))
            assertThrows(IOException::class.java) { Pictures.read(context.contentResolver, uri) }
        }
    }

    /** One file of another app. */
    class Documents : ContentProvider() {
        override fun onCreate() = true

        override fun query(
            uri: Uri,
            projection: Array<out String>?,
            selection: String?,
            selectionArgs: Array<out String>?,
            sortOrder: String?,
        ): Cursor {
            refusal?.let { throw it }
            val known = mapOf<String, Any?>(
                OpenableColumns.SIZE to size,
                OpenableColumns.DISPLAY_NAME to "model.tflite",
                Document.COLUMN_LAST_MODIFIED to modified,
            )
            val columns = checkNotNull(projection)
            return MatrixCursor(columns).apply { addRow(columns.map { known[it] }) }
        }

        override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
            refusal?.let { throw it }
            opened++
            return ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY)
        }

        override fun getType(uri: Uri): String? = null

        override fun insert(uri: Uri, values: ContentValues?): Uri? = null

        override fun update(uri: Uri, values: ContentValues?, where: String?, args: Array<out String>?) = 0

        override fun delete(uri: Uri, where: String?, args: Array<out String>?) = 0

        companion object {
            const val AUTHORITY = "org.kerascnn.demo.test.model"
            lateinit var file: File
            var size: Long? = null
            var modified: Long? = null
            var opened = 0
            var refusal: RuntimeException? = null
        }
    }
}
