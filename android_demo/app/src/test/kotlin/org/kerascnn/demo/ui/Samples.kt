package org.kerascnn.demo.ui

import android.net.Uri
import android.os.Looper
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.Answerer
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.Prepared
import org.kerascnn.demo.core.SelfTestResult
import org.robolectric.Shadows.shadowOf

/** Files that describe themselves, and what answers in the runtime's place. */
object Samples {
    private const val INPUT = """{"name": "image", "height": 32, "width": 48, "channels": 3,
        "type": "float32", "values": "(byte - mean) / std", "mean": [127, 127, 127],
        "std": [128, 128, 128], "colour": "RGB", "order": "rgb", "resize": "stretch",
        "crop_fraction": 0.875}"""
    private val KINDS =
        mapOf("classification" to "logits", "detection" to "detections", "segmentation" to "map")

    fun json(
        task: String = "classification",
        model: String = "mobilenet_v2",
        variant: String = "int8",
        labels: List<String> = listOf("cat", "dog", "horse"),
    ): String = """{"format": 1, "task": "$task", "model": "$model", "variant": "$variant",
        "name": "$model", "description": "Knows animals", "author": "A. Author",
        "license": "MIT", "version": "1", "labels": [${labels.joinToString { "\"$it\"" }}],
        "input": $INPUT, "outputs": [], "decoding": {"kind": "${KINDS[task]}"}}"""

    /** As an exported file ends: stored entries behind the model. */
    fun model(json: String): ByteArray {
        val zip = ByteArrayOutputStream()
        zip.write("....TFL3 and a network".toByteArray())
        val content = json.toByteArray()
        ZipOutputStream(zip).use { out ->
            val entry = ZipEntry("kerascnn.json").apply {
                method = ZipEntry.STORED
                size = content.size.toLong()
                crc = CRC32().apply { update(content) }.value
            }
            out.putNextEntry(entry)
            out.write(content)
        }
        return zip.toByteArray()
    }

    fun file(folder: File, name: String, bytes: ByteArray): ModelFile.Opened {
        val file = File(folder, name)
        file.writeBytes(bytes)
        return ModelFile.Opened(Uri.fromFile(file))
    }

    /** Let everything end that was posted, until something is so, however long that takes. */
    fun await(isSo: () -> Boolean) {
        while (true) {
            shadowOf(Looper.getMainLooper()).idle()
            if (isSo()) return
            Thread.sleep(5)
        }
    }
}

/** Answers alike whatever it is shown. */
class FakeAnswerer(
    override val description: ModelDescription,
    private val selfTest: SelfTestResult? = null,
    private val answer: (Picture) -> Answer,
) : Answerer {
    override val lastNanos = 12_340_000L

    override fun answer(picture: Picture): Answer = answer.invoke(picture)

    override fun selfTest(): SelfTestResult? = selfTest

    /** As of a black picture. */
    override fun answer(prepared: Prepared): Answer {
        val (width, height) = prepared.placement
        return answer(Picture(width, height, IntArray(width * height)))
    }

    override fun close() = Unit
}
