package org.kerascnn.demo.ui

import android.net.Uri
import java.io.File
import java.util.Base64
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.kerascnn.demo.core.Golden
import org.kerascnn.demo.core.coded
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class PicturesTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun `a colour profile is left alone, as in Python`() {
        val case = Golden.one("display_p3")
        val file = File(folder.root, "p3.png")
        file.writeBytes(Base64.getDecoder().decode(case.getString("file")))
        val read = checkNotNull(
            Pictures.read(RuntimeEnvironment.getApplication().contentResolver, Uri.fromFile(file)),
        )
        assertArrayEquals(case.coded("wanted").picture().pixels, read.pixels)
        // What is shown is what the network sees.
        val shown = Pictures.bitmap(read)
        assertEquals(read.pixels[1] or (0xff shl 24), shown.getPixel(1, 0))
    }
}
